// From logits to tokens: one block a row. The rule stands in ops/sampler.rs.
//
// Sums over the vocabulary run in an order that depends on its size alone: a warp takes a span of neighbouring tokens, its
// lanes every 32nd four of them, and partial sums are added in the order of lanes and spans. Masses that decide top-p are sums
// of whole numbers, whose order makes no difference.

constexpr int SAMPLER_THREADS = 1024;
constexpr int SAMPLER_WARPS = SAMPLER_THREADS / 32;
constexpr int NO_TOKEN = 0x7FFFFFFF;
// What stands for the largest logit where there is none, or only minus infinity, so that differences from it are numbers.
constexpr float LOWEST = -3.402823466e38f;
constexpr int BINS = 256;
// How many copies of the bins there are, each of some of the warps: tokens crowd in few bins, and adding to one that others are
// adding to has to wait for them.
constexpr int BIN_COPIES = 4;
// Bins of the first cut for one unit of distance from the largest logit; the last bin holds all that is further away.
constexpr float BINS_PER_UNIT = 8.0f;
// A probability of 1 as a whole number.
constexpr float WHOLE = 1099511627776.0f;

typedef unsigned long long Mass;

// Where a row's draw is in its completion: the counter of the random number.
DEVICE float uniform(const unsigned* key, unsigned task, unsigned sample, unsigned position) {
    // Philox 4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    unsigned counter[4] = {position, sample, task, key[2]};
    unsigned low = key[0], high = key[1];
    for (int round = 0; round < 10; round++) {
        unsigned long long first = 0xD2511F53ull * counter[0], second = 0xCD9E8D57ull * counter[2];
        unsigned next[4] = {(unsigned)(second >> 32) ^ counter[1] ^ low, (unsigned)second,
                            (unsigned)(first >> 32) ^ counter[3] ^ high, (unsigned)first};
        for (int i = 0; i < 4; i++) counter[i] = next[i];
        low += 0x9E3779B9u;
        high += 0xBB67AE85u;
    }
    return (float)(counter[0] >> 8) / 16777216.0f;
}

// One row's logits at the temperature.
struct Row {
    const float* logits;
    int vocabulary;
    float scale;
};

// Rounded here, and not part of a fused multiply-add with what is done next: it has to be the same number in each pass over
// the row, to the bit.
DEVICE float scaled(float logit, float scale) {
#ifdef EMULATION
    return logit * scale;
#else
    return __fmul_rn(logit, scale);
#endif
}

DEVICE float at(const Row& z, int token) { return scaled(z.logits[token], z.scale); }

// Tokens begin .. end.
struct Span {
    int begin, end;
};

// Calls use(token, values, count) for every four neighbours of a span that are this worker's; fewer at the end of a row whose
// length is no multiple of four. A span begins at such a multiple.
template <typename Use> DEVICE void each_four(const Row& z, Span span, int worker, int workers, Use use) {
    int token = span.begin + 4 * worker;
    if (z.vocabulary % 4 != 0) {
        for (; token < span.end; token += 4 * workers) {
            const int count = min(4, span.end - token);
            float values[4];
            for (int i = 0; i < 4; i++) values[i] = at(z, i < count ? token + i : token);
            use(token, values, count);
        }
        return;
    }
    // All spans end at a multiple of four, and rows lie on sixteen bytes. The next four are on their way meanwhile.
    auto load = [&](int from) { return *reinterpret_cast<const float4*>(z.logits + from); };
    float4 ahead = load(token < span.end ? token : 0);
    while (token < span.end) {
        const float4 four = ahead;
        const int next = token + 4 * workers;
        ahead = load(next < span.end ? next : 0);
        const float values[4] = {scaled(four.x, z.scale), scaled(four.y, z.scale), scaled(four.z, z.scale),
                                 scaled(four.w, z.scale)};
        use(token, values, 4);
        token = next;
    }
}

// Calls use(token, value) for each of this worker's tokens.
template <typename Use> DEVICE void each_token(const Row& z, Span span, int worker, int workers, Use use) {
    each_four(z, span, worker, workers, [&](int token, const float(&values)[4], int count) {
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (i < count) use(token + i, values[i]);
    });
}

// An order of numbers that is that of their bits; NaN is the least.
DEVICE unsigned ordered(float z) {
    if (z != z) return 0;
    unsigned bits = __float_as_uint(z + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

DEVICE float from_ordered(unsigned key) { return __uint_as_float(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key); }

// The largest number of the row and the first token that has it; NaN counts as the least.
struct Likeliest {
    unsigned key;
    int token;
};

DEVICE void keep_better(Likeliest& best, unsigned key, int token) {
    if (key > best.key || (key == best.key && token < best.token)) best = Likeliest{key, token};
}

// The part `part` of SAMPLER_WARPS of a span; each begins at a multiple of four, as the span does.
DEVICE Span part_of(Span whole, int part) {
    int length = ((whole.end - whole.begin + SAMPLER_WARPS - 1) / SAMPLER_WARPS + 3) / 4 * 4;
    int begin = min(whole.begin + part * length, whole.end);
    return Span{begin, min(begin + length, whole.end)};
}

// The likeliest token. Leaves in `sums` [SAMPLER_WARPS] what each part of the row weighs, a token's weight being exp(z - its z).
// The row is read once: each thread weighs by the largest that it has met (Milakov and Gimelshein, "Online normalizer
// calculation for softmax", 2018).
DEVICE Likeliest weigh_row(float* sums, const Row& z) {
    SHARED(unsigned, keys, SAMPLER_WARPS);
    SHARED(int, tokens, SAMPLER_WARPS);
    Likeliest best{0, NO_TOKEN};
    float reference = LOWEST, sum = 0.0f;
    const Span own = part_of(Span{0, z.vocabulary}, warp_index());
    each_four(z, own, lane_index(), WARP, [&](int token, const float(&values)[4], int count) {
        // What is no number is never larger.
        float top = values[0];
#pragma unroll
        for (int i = 1; i < 4; i++)
            if (i < count) top = fmaxf(top, values[i]);
        const unsigned key = ordered(top);
        // Later tokens have higher numbers, so an equal one is not better.
        if (key > best.key || best.token == NO_TOKEN) {
            int first = 0;
#pragma unroll
            for (int i = 3; i >= 0; i--)
                if (i < count && ordered(values[i]) == key) first = i;
            best = Likeliest{key, token + first};
            const float higher = fmaxf(top, LOWEST);
            sum *= expf(reference - higher);
            reference = higher;
        }
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (i < count) sum += expf(values[i] - reference);
    });
    for (int mask = WARP / 2; mask > 0; mask >>= 1) {
        unsigned key = shuffle_xor(best.key, mask);
        keep_better(best, key, shuffle_xor(best.token, mask));
    }
    if (lane_index() == 0) {
        keys[warp_index()] = best.key;
        tokens[warp_index()] = best.token;
    }
    __syncthreads();
    for (int warp = 0; warp < SAMPLER_WARPS; warp++) keep_better(best, keys[warp], tokens[warp]);
    sum = warp_sum(sum * expf(reference - at(z, best.token)));
    if (lane_index() == 0) sums[warp_index()] = sum;
    __syncthreads();
    return best;
}

// Leaves in `sums` what each part of the span weighs; weight(token, z) >= 0, or NaN.
template <typename Weight>
DEVICE void weigh_parts(float* sums, const Row& z, Span whole, Weight weight) {
    float sum = 0.0f;
    const Span own = part_of(whole, warp_index());
    each_token(z, own, lane_index(), WARP, [&](int token, float value) { sum += weight(token, value); });
    sum = warp_sum(sum);
    __syncthreads(); // An earlier call's sums may still be read.
    if (lane_index() == 0) sums[warp_index()] = sum;
    __syncthreads();
}

// What all parts weigh together.
DEVICE float sum_of_parts(const float* sums) {
    float total = 0.0f;
    for (int part = 0; part < SAMPLER_WARPS; part++) total += sums[part];
    return total;
}

// The part in which the running weight passes `draw`, or the last that weighs anything; `running` becomes what lies before.
DEVICE int passing_part(const float* sums, float draw, float& running) {
    int last = 0;
    float through = running;
    for (int part = 0; part < SAMPLER_WARPS && through <= draw; part++) {
        if (sums[part] > 0.0f) {
            last = part;
            running = through;
            through += sums[part];
        }
    }
    return last;
}

// The first token at which the running weight passes `draw`; rounding leaves the last that weighs anything. All threads call
// it, with the weights of the whole row's parts in `sums`, and get the same token.
template <typename Weight>
DEVICE int first_passing(float* sums, const Row& z, float draw, Weight weight) {
    Span span{0, z.vocabulary};
    float running = 0.0f;
    span = part_of(span, passing_part(sums, draw, running));
    // Each time to one of 32 parts: a few tokens are left at last.
    for (int level = 0; level < 2; level++) {
        weigh_parts(sums, z, span, weight);
        span = part_of(span, passing_part(sums, draw, running));
    }
    int last = span.begin;
    for (int token = span.begin; token < span.end && running <= draw; token++) {
        float w = weight(token, at(z, token));
        if (w > 0.0f) {
            last = token;
            running += w;
        }
    }
    return last;
}

// The likeliest tokens, ties to the lower number: all above a key, and of those with the key the first `ties`.
struct Head {
    unsigned key;
    Mass ties;
};

// One step of the search for the head. The bins hold the weights of ever less likely tokens; the first at which the running
// weight reaches `target`, from which the weight before is taken.
DEVICE int reaching_bin(const Mass* bins, Mass& target) {
    for (int bin = 0; bin < BINS - 1; bin++) {
        if (bins[bin] >= target) return bin;
        target -= bins[bin];
    }
    return BINS - 1;
}

// The smallest head that weighs at least `target` (1 up to the weight of all tokens); weight(z) is a whole number.
template <typename Weight>
DEVICE Head smallest_head(const Row& z, float largest, Mass target, Weight weight) {
    SHARED(Mass, bins, BIN_COPIES * BINS);
    Mass* own_bins = bins + warp_index() % BIN_COPIES * BINS;
    auto coarse = [&](float value) {
        float distance = (largest - value) * BINS_PER_UNIT;
        return distance < (float)(BINS - 1) ? (int)distance : BINS - 1;
    };
    int outer = 0;
    unsigned prefix = 0;
    // First by distance from the largest, which spreads the tokens over many bins, then by eight bits of the key at a time.
    for (int shift = 32; shift >= 0; shift -= 8) {
        for (int bin = threadIdx.x; bin < BIN_COPIES * BINS; bin += SAMPLER_THREADS) bins[bin] = 0;
        __syncthreads();
        each_token(z, Span{0, z.vocabulary}, threadIdx.x, SAMPLER_THREADS, [&](int, float value) {
            int bin = coarse(value);
            if (shift < 32) {
                unsigned key = ordered(value);
                bool inside = bin == outer && (shift == 24 || key >> (shift + 8) == prefix);
                bin = inside ? BINS - 1 - (int)(key >> shift & 0xFF) : -1;
            }
            if (bin >= 0) {
                Mass w = weight(value);
                if (w > 0) atomicAdd(&own_bins[bin], w);
            }
        });
        __syncthreads();
        for (int bin = threadIdx.x; bin < BINS; bin += SAMPLER_THREADS)
            for (int copy = 1; copy < BIN_COPIES; ++copy) bins[bin] += bins[copy * BINS + bin];
        __syncthreads();
        int bin = reaching_bin(bins, target);
        if (shift == 32) {
            outer = bin;
        } else {
            prefix = prefix << 8 | (unsigned)(BINS - 1 - bin);
        }
        __syncthreads();
    }
    Mass each = weight(from_ordered(prefix));
    return Head{prefix, each > 0 ? (target + each - 1) / each : 1};
}

// Draws from the head that top_k and top_p leave. `total` is log(sum(exp(z))) of the whole row.
DEVICE int draw_from_head(float* sums, const Row& z, float largest, float total, int top_k, double top_p, float draw) {
    // 0 stands for what is too small to count, and for NaN.
    auto mass_of = [=](float value) {
        float p = expf(value - total) * WHOLE;
        return p >= 1.0f ? static_cast<Mass>(p) : Mass(0);
    };
    auto one = [](float value) { return static_cast<Mass>(value == value); };
    // Key 0 lies below every number: all tokens.
    Head head{0, 0};
    if (top_k > 0 && top_k < z.vocabulary) head = smallest_head(z, largest, static_cast<Mass>(top_k), one);
    if (top_p < 1.0) {
        // As on the processor: top-p counts over what top-k left.
        Mass mass = 0;
        each_token(z, Span{0, z.vocabulary}, threadIdx.x, SAMPLER_THREADS, [&](int, float value) {
            if (ordered(value) > head.key) mass += mass_of(value);
        });
        mass = block_sum(mass);
        if (head.key > 0) mass += head.ties * mass_of(from_ordered(head.key));
        Mass target = static_cast<Mass>(ceil(top_p * static_cast<double>(mass)));
        if (mass > 0) head = smallest_head(z, largest, target > 0 ? target : 1, mass_of);
    }
    const Span row{0, z.vocabulary};
    int last_tie = z.vocabulary;
    if (head.key > 0) {
        auto is_tie = [&](int, float value) { return ordered(value) == head.key ? 1.0f : 0.0f; };
        weigh_parts(sums, z, row, is_tie);
        last_tie = first_passing(sums, z, static_cast<float>(head.ties) - 0.5f, is_tie);
    }
    auto weight = [&](int token, float value) {
        unsigned key = ordered(value);
        bool inside = key > head.key || (key == head.key && token <= last_tie);
        return inside ? expf(value - largest) : 0.0f;
    };
    weigh_parts(sums, z, row, weight);
    return first_passing(sums, z, draw * sum_of_parts(sums), weight);
}

// tokens [rows], logprobs [rows], from logits [rows, vocabulary]; rows whose state is not 0 are left alone.
// key [3]: the seed's words and the step; task, number, position [rows] tell what a row's draw is for.
KERNEL_BOUNDS(SAMPLER_THREADS, 1, sample, unsigned* tokens, float* logprobs, const float* logits, const unsigned char* state,
              const unsigned* key, const unsigned* task, const unsigned* number, const unsigned* position, int vocabulary,
              float scale, int greedy, int top_k, double top_p) {
    await_previous();
    SHARED(float, sums, SAMPLER_WARPS);
    int row = blockIdx.x;
    if (state[row] != 0) return;
    Row z{logits + static_cast<size_t>(row) * vocabulary, vocabulary, scale};
    Likeliest best = weigh_row(sums, z);
    float largest = at(z, best.token);
    auto weight = [&](int, float value) { return expf(value - largest); };
    float weights = sum_of_parts(sums);
    float total = largest + logf(weights);
    int token = best.token;
    if (!greedy) {
        float draw = uniform(key, task[row], number[row], position[row]);
        token = top_k == 0 && top_p >= 1.0 ? first_passing(sums, z, draw * weights, weight)
                                           : draw_from_head(sums, z, largest, total, top_k, top_p, draw);
    }
    if (threadIdx.x == 0) {
        tokens[row] = static_cast<unsigned>(token);
        logprobs[row] = at(z, token) - total;
    }
}
