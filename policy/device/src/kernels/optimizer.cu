// The gradient's norm, AdamW, and the moving average of weights. All arrays are flat and of any alignment.
//
// Products and sums are rounded one by one, in the order of policy/src/optim/adamw.rs, without fused multiply-adds: a
// step is the same to the bit on the card and on the CPU.

#ifdef EMULATION
DEVICE float product(float a, float b) { return a * b; }
DEVICE float sum(float a, float b) { return a + b; }
DEVICE float quotient(float a, float b) { return a / b; }
DEVICE float square_root(float a) { return sqrtf(a); }
#else
DEVICE float product(float a, float b) { return __fmul_rn(a, b); }
DEVICE float sum(float a, float b) { return __fadd_rn(a, b); }
DEVICE float quotient(float a, float b) { return __fdiv_rn(a, b); }
DEVICE float square_root(float a) { return __fsqrt_rn(a); }
#endif

// Threads of the blocks that add up squares, and the numbers that one of those takes, as in ops/adamw.rs.
constexpr unsigned SUM_THREADS = 256;
constexpr int SUM_NUMBERS = 65536;

// The sum over a block, in thread 0.
DEVICE double block_total(double value) {
    SHARED(double, values, SUM_THREADS);
    values[threadIdx.x] = value;
    __syncthreads();
    for (unsigned width = SUM_THREADS / 2; width > 0; width /= 2) {
        if (threadIdx.x < width) {
            values[threadIdx.x] += values[threadIdx.x + width];
        }
        __syncthreads();
    }
    return values[0];
}

// partial [blocks]: the sum of squares of SUM_NUMBERS numbers.
KERNEL(sum_of_squares, double* partial, const float* values, size_t count) {
    await_previous();
    const size_t first = (size_t)blockIdx.x * SUM_NUMBERS;
    const size_t end = first + SUM_NUMBERS < count ? first + SUM_NUMBERS : count;
    double sum = 0;
    for (size_t i = first + threadIdx.x; i < end; i += SUM_THREADS) {
        sum += (double)values[i] * (double)values[i];
    }
    sum = block_total(sum);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = sum;
    }
}

// The norm from the sums of squares [count], clipped to `max_norm` (infinite: not at all). One block.
// verdict [3]: the norm, the factor of the gradient, and whether the step is applied: not where the gradient is not
// finite, or its norm, once clipped, more than `largest`.
KERNEL(judge_step, double* verdict, const double* partial, size_t count, double max_norm, double largest) {
    await_previous();
    double total = 0;
    for (size_t i = threadIdx.x; i < count; i += SUM_THREADS) {
        total += partial[i];
    }
    total = block_total(total);
    if (threadIdx.x == 0) {
        const double norm = sqrt(total);
        const double scale = norm > max_norm ? max_norm / norm : 1;
        verdict[0] = norm;
        verdict[1] = scale;
        verdict[2] = norm * scale <= largest; // Not so for what is no number.
    }
}

// w, m, v [count] in place and the copy to compute with, if there is one (else null):
//     w <- w keep - step m / (sqrt(v) root_correction + eps).
KERNEL(adamw, float* weights, bf16* copy, const float* gradient, float* first, float* second, const double* verdict,
       float keep, float one_minus_beta1, float beta2, float one_minus_beta2, float step, float root_correction,
       float eps, size_t count) {
    await_previous();
    if (verdict[2] == 0) {
        return;
    }
    const float scale = (float)verdict[1];
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (size_t)gridDim.x * blockDim.x) {
        const float g = product(gradient[i], scale);
        const float m = sum(first[i], product(one_minus_beta1, sum(g, -first[i])));
        const float v = sum(product(beta2, second[i]), product(product(one_minus_beta2, g), g));
        const float denominator = sum(product(square_root(v), root_correction), eps);
        const float w = sum(product(weights[i], keep), -quotient(product(step, m), denominator));
        first[i] = m;
        second[i] = v;
        weights[i] = w;
        if (copy) {
            copy[i] = to_bf16(w);
        }
    }
}

// w <- keep w + rate other, and the copy.
KERNEL(move_towards, float* weights, bf16* copy, const float* other, float keep, float rate, size_t count) {
    await_previous();
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (size_t)gridDim.x * blockDim.x) {
        const float w = sum(product(weights[i], keep), product(other[i], rate));
        weights[i] = w;
        if (copy) {
            copy[i] = to_bf16(w);
        }
    }
}
