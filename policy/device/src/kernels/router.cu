// The router of a mixture of experts: sigmoid affinities, choice by affinity + bias inside the best groups, gates without
// the bias, and what the logits' gradient is. The equations stand in ops/router.rs.
//
// One warp works on one token. A lane holds `share` experts that lie side by side, so that the order of lanes is the order
// of experts.

// Experts of one lane: 32 lanes hold 256.
constexpr int LANE_EXPERTS = 8;
constexpr int MAX_CHOSEN = 16;
constexpr int ROUTER_WARPS = 4;

// An order of scores in which a NaN lies below every number and 0 is left for an expert that cannot be chosen.
constexpr unsigned CLOSED = 0;
constexpr unsigned NOT_A_NUMBER = 1;

DEVICE float affinity(float logit) { return 1.0f / (1.0f + expf(-logit)); }

DEVICE unsigned ordered(float score) {
    if (score != score) return NOT_A_NUMBER;
    // Adding zero makes -0 and 0 the same number.
    unsigned bits = __float_as_uint(score + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The best key of a warp, ties to the lower number; every lane gets both.
DEVICE void best_of_warp(unsigned& key, int& number) {
    for (int mask = 16; mask > 0; mask >>= 1) {
        unsigned other_key = shuffle_xor(key, mask);
        int other = shuffle_xor(number, mask);
        if (other_key > key || (other_key == key && other < number)) {
            key = other_key;
            number = other;
        }
    }
}

// Closes the experts of all groups but the `top_groups` best, a group's score being the sum of its two best scores.
DEVICE void close_groups(unsigned (&keys)[LANE_EXPERTS], const float (&scores)[LANE_EXPERTS], int share, int groups,
                         int top_groups, int group_size) {
    int lane = lane_index();
    // The lane keeps the scores of groups lane, lane + 32, ...: as many as it has experts at most.
    unsigned group_keys[LANE_EXPERTS];
    for (int i = 0; i < LANE_EXPERTS; i++) group_keys[i] = CLOSED;
    for (int group = 0; group < groups; group++) {
        float sum = 0.0f;
        int taken = -1;
        for (int place = 0; place < (group_size > 1 ? 2 : 1); place++) {
            unsigned key = CLOSED;
            int number = 1 << 30;
            float score = 0.0f;
            for (int i = 0; i < LANE_EXPERTS; i++) {
                int expert = lane * share + i;
                if (i < share && expert / group_size == group && expert != taken && keys[i] > key) {
                    key = keys[i];
                    number = expert;
                    score = scores[i];
                }
            }
            best_of_warp(key, number);
            taken = number;
            sum += shuffle(score, number / share);
        }
        unsigned key = ordered(sum);
        for (int i = 0; i < LANE_EXPERTS; i++) {
            if (group == lane + 32 * i) group_keys[i] = key;
        }
    }
    unsigned long long open[4] = {0, 0, 0, 0};
    for (int chosen = 0; chosen < top_groups; chosen++) {
        unsigned key = CLOSED;
        int number = 1 << 30;
        for (int i = 0; i < LANE_EXPERTS; i++) {
            if (group_keys[i] > key) {
                key = group_keys[i];
                number = lane + 32 * i;
            }
        }
        best_of_warp(key, number);
        for (int i = 0; i < LANE_EXPERTS; i++) {
            if (number == lane + 32 * i) group_keys[i] = CLOSED;
        }
        for (int word = 0; word < 4; word++) {
            if (number / 64 == word) open[word] |= 1ull << (number % 64);
        }
    }
    for (int i = 0; i < LANE_EXPERTS; i++) {
        int group = (lane * share + i) / group_size;
        bool is_open = false;
        for (int word = 0; word < 4; word++) {
            if (group / 64 == word) is_open = open[word] >> (group % 64) & 1;
        }
        if (!is_open) keys[i] = CLOSED;
    }
}

// What a chosen affinity is multiplied with: the sum of the chosen runs in the order of slots.
DEVICE float gate_factor(const float* logits, const unsigned short* chosen, int top_k, int normalise, float scale) {
    if (!normalise) return scale;
    float total = 0.0f;
    for (int slot = 0; slot < top_k; slot++) total += affinity(logits[chosen[slot]]);
    return scale / (total + 1e-20f);
}

// chosen [rows, top_k] ascending, gates [rows, top_k], logits [rows, experts], bias [experts].
KERNEL_BOUNDS(ROUTER_WARPS * 32, 1, router_choose, unsigned short* chosen, float* gates, const float* logits,
              const float* bias, int rows, int experts, int top_k, int groups, int top_groups, int normalise,
              float scale) {
    await_previous();
    SHARED(unsigned short, slots, ROUTER_WARPS * MAX_CHOSEN);
    int warp = warp_index(), lane = lane_index();
    int row = blockIdx.x * ROUTER_WARPS + warp;
    // A warp without a row repeats the last one, so that all threads meet at the barrier, and writes nothing.
    const float* z = logits + (size_t)(row < rows ? row : rows - 1) * experts;
    int share = (experts + 31) / 32;
    unsigned keys[LANE_EXPERTS];
    float scores[LANE_EXPERTS];
    for (int i = 0; i < LANE_EXPERTS; i++) {
        int expert = lane * share + i;
        bool exists = i < share && expert < experts;
        scores[i] = exists ? affinity(z[expert]) + bias[expert] : 0.0f;
        keys[i] = exists ? ordered(scores[i]) : CLOSED;
    }
    if (top_groups < groups) close_groups(keys, scores, share, groups, top_groups, experts / groups);

    unsigned mine = 0;
    for (int slot = 0; slot < top_k; slot++) {
        unsigned key = CLOSED;
        int number = 1 << 30;
        for (int i = 0; i < LANE_EXPERTS; i++) {
            if (keys[i] > key) {
                key = keys[i];
                number = lane * share + i;
            }
        }
        best_of_warp(key, number);
        for (int i = 0; i < LANE_EXPERTS; i++) {
            if (number == lane * share + i && i < share) {
                keys[i] = CLOSED;
                mine |= 1u << i;
            }
        }
    }
    // Ascending: a lane's experts come after those of the lanes before it.
    int count = 0;
    for (int i = 0; i < LANE_EXPERTS; i++) count += mine >> i & 1;
    int before = count;
    for (int distance = 1; distance < 32; distance <<= 1) {
        int other = shuffle_up(before, distance);
        if (lane >= distance) before += other;
    }
    before -= count;
    for (int i = 0; i < LANE_EXPERTS; i++) {
        if (mine >> i & 1) slots[warp * MAX_CHOSEN + before++] = (unsigned short)(lane * share + i);
    }
    __syncthreads();
    if (row >= rows) return;
    const unsigned short* own = slots + warp * MAX_CHOSEN;
    if (lane < top_k) {
        float factor = gate_factor(z, own, top_k, normalise, scale);
        chosen[(size_t)row * top_k + lane] = own[lane];
        gates[(size_t)row * top_k + lane] = affinity(z[own[lane]]) * factor;
    }
}

// The gates of experts that were chosen before; one thread a token.
KERNEL(router_gates, float* gates, const float* logits, const unsigned short* chosen, int rows, int experts, int top_k,
       int normalise, float scale) {
    await_previous();
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    const float* z = logits + (size_t)row * experts;
    const unsigned short* own = chosen + (size_t)row * top_k;
    float factor = gate_factor(z, own, top_k, normalise, scale);
    for (int slot = 0; slot < top_k; slot++) gates[(size_t)row * top_k + slot] = affinity(z[own[slot]]) * factor;
}

// d_logits [rows, experts] = gradient through the gates + gradient of the balance loss.
//
// Through the gates: ds_i = scale / total (dg_i - sum_j dg_j s_j / total) for the chosen. Of the balance loss: with
// slope_i = balance * load_i, ds_i += (slope_i - sum_j slope_j s_j / S) / S for all, S being the sum of all s.
// `offsets` [experts + 1] are where each expert's pairs start; their differences are the load. balance 0 leaves that loss out.
KERNEL_BOUNDS(ROUTER_WARPS * 32, 1, router_backward, bf16* d_logits, const float* logits, const unsigned short* chosen,
              const float* d_gates, const unsigned* offsets, int rows, int experts, int top_k, int normalise, float scale,
              float balance) {
    await_previous();
    int warp = warp_index(), lane = lane_index();
    int row = blockIdx.x * ROUTER_WARPS + warp;
    // All lanes of a warp have the same row, and nothing here waits for another warp.
    if (row >= rows) return;
    const float* z = logits + (size_t)row * experts;
    const unsigned short* own = chosen + (size_t)row * top_k;
    const float* dg = d_gates + (size_t)row * top_k;
    int share = (experts + 31) / 32;

    float total = 1e-20f, weighted = 0.0f;
    for (int slot = 0; slot < top_k; slot++) {
        float s = affinity(z[own[slot]]);
        total += s;
        weighted += s * dg[slot];
    }
    float mean = weighted / total;

    float s[LANE_EXPERTS], d[LANE_EXPERTS], slope[LANE_EXPERTS];
    float all = 0.0f, sloped = 0.0f;
    for (int i = 0; i < LANE_EXPERTS; i++) {
        int expert = lane * share + i;
        bool exists = i < share && expert < experts;
        s[i] = exists ? affinity(z[expert]) : 0.0f;
        slope[i] = exists && balance != 0.0f ? balance * (float)(offsets[expert + 1] - offsets[expert]) : 0.0f;
        d[i] = 0.0f;
        all += s[i];
        sloped += s[i] * slope[i];
    }
    for (int slot = 0; slot < top_k; slot++) {
        float ds = normalise ? scale / total * (dg[slot] - mean) : scale * dg[slot];
        for (int i = 0; i < LANE_EXPERTS; i++) {
            if (i < share && own[slot] == lane * share + i) d[i] = ds;
        }
    }
    if (balance != 0.0f) {
        all = warp_sum(all);
        float mean_slope = warp_sum(sloped) / all;
        for (int i = 0; i < LANE_EXPERTS; i++) d[i] += (slope[i] - mean_slope) / all;
    }
    for (int i = 0; i < LANE_EXPERTS; i++) {
        int expert = lane * share + i;
        if (i < share && expert < experts) {
            d_logits[(size_t)row * experts + expert] = to_bf16(d[i] * s[i] * (1.0f - s[i]));
        }
    }
}
