// Log-probabilities of given tokens and the entropy, from logits z that exist for a chunk of the vocabulary at a time.
// Each row keeps, over the chunks, m = max(z), s = sum(exp(z - m)) and w = sum(exp(z - m) (z - m)) (Milakov and
// Gimelshein, "Online normalizer calculation for softmax", 2018). Then
//     total = m + log(s)      logprob = z_t - total      entropy = log(s) - w / s
// and backwards, with p = exp(z - total) and the slopes a, b of logprob and entropy,
//     dz = (a (onehot(t) - p) - b p (z - total + entropy)) / temperature.
// The logits come divided by the temperature.

constexpr float NOTHING = -3.402823466e38f; // The lowest float: less than any logit, and its differences stay finite.

// What a row, or a thread for its part of a row, knows of the logits so far.
struct Running {
    float largest, sum, weighted;
};

// As seen from a maximum that is not smaller. Where nothing has been added, nothing changes.
DEVICE void move_to(Running& running, float maximum) {
    if (maximum != running.largest && running.sum != 0) {
        const float difference = running.largest - maximum, factor = expf(difference);
        running.weighted = factor * (running.weighted + difference * running.sum);
        running.sum *= factor;
    }
    running.largest = maximum;
}

// A block per row. logits [rows, stride], of which `width` from token `first` on are of the vocabulary.
// running [rows, 3] and picked [rows], the target's logit, are kept from chunk to chunk; first = 0 begins anew.
KERNEL(logprob_chunk, float* running, float* picked, const float* logits, const unsigned* targets, int first, int width,
       int stride) {
    await_previous();
    const size_t row = blockIdx.x;
    logits += row * stride;
    Running own = {NOTHING, 0, 0};
    for (int column = threadIdx.x * 8; column < width; column += blockDim.x * 8) {
        float z[8];
        load_8(z, logits + column); // The stride is a multiple of eight: there is memory, if not logits.
        float largest = own.largest;
        for (int i = 0; i < 8; i++) {
            largest = column + i < width ? fmaxf(largest, z[i]) : largest;
        }
        move_to(own, largest);
        for (int i = 0; i < 8; i++) {
            if (column + i < width) {
                const float difference = z[i] - own.largest, e = expf(difference);
                own.sum += e;
                own.weighted += e * difference;
            }
        }
    }
    move_to(own, block_max(own.largest));
    own.sum = block_sum(own.sum);
    own.weighted = block_sum(own.weighted);
    if (threadIdx.x == 0) {
        running += row * 3;
        if (first > 0) {
            Running before = {running[0], running[1], running[2]};
            const float largest = fmaxf(before.largest, own.largest);
            move_to(before, largest);
            move_to(own, largest);
            own.sum += before.sum;
            own.weighted += before.weighted;
        }
        running[0] = own.largest;
        running[1] = own.sum;
        running[2] = own.weighted;
        const unsigned place = targets[row] - (unsigned)first; // Of an earlier chunk: past any width.
        if (place < (unsigned)width) {
            picked[row] = logits[place];
        }
    }
}

// logprobs, entropy, totals [rows] from what the chunks have left.
KERNEL(logprob_finish, float* logprobs, float* entropy, float* totals, const float* running, const float* picked,
       int rows) {
    await_previous();
    const int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row < rows) {
        const float largest = running[3 * (size_t)row], sum = running[3 * (size_t)row + 1];
        const float logarithm = logf(sum);
        // Small numbers first: the maximum may be many times larger than what is left.
        logprobs[row] = picked[row] - largest - logarithm;
        entropy[row] = logarithm - running[3 * (size_t)row + 2] / sum;
        totals[row] = largest + logarithm;
    }
}

// d_logits [rows, stride] as bf16, from logits of the same chunk. A block per row.
// slopes [rows] by log-probability, entropy_slopes [rows] by entropy or null; `scale` is 1 / temperature.
KERNEL(logprob_backward, bf16* d_logits, const float* logits, const unsigned* targets, const float* totals,
       const float* entropy, const float* slopes, const float* entropy_slopes, int first, int width, int stride,
       float scale) {
    await_previous();
    const size_t row = blockIdx.x;
    const float a = slopes[row] * scale, total = totals[row];
    const float b = entropy_slopes ? entropy_slopes[row] * scale : 0, h = entropy_slopes ? entropy[row] : 0;
    const unsigned place = targets[row] - (unsigned)first;
    logits += row * stride;
    d_logits += row * stride;
    for (int column = threadIdx.x * 8; column < width; column += blockDim.x * 8) {
        float z[8];
        load_8(z, logits + column);
        for (int i = 0; i < 8; i++) {
            const float logarithm = z[i] - total;
            // Past the width stand old numbers, which are read but lead nowhere.
            z[i] = column + i < width ? -(a + b * (logarithm + h)) * expf(logarithm) : 0;
            if (place == (unsigned)(column + i)) {
                z[i] += a;
            }
        }
        store_8(d_logits + column, z);
    }
}
