// Root-mean-square normalisation of rows: y = x r w with r = 1 / sqrt(mean(x^2) + eps).
// (Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.) With n columns,
//     dx = r (dy w - x r^2 sum(dy w x) / n)        dw = sum over rows of dy x r.
// A narrow row is a warp's work, a wide one a block's. Rows are read twice, the second time from the cache. `heads` rows lie side
// by side, and the next ones a stride further.

// Rows of one group of threads in the backward pass, whose share of dw it sums up; as in ops/rms_norm.rs. A block has eight
// narrow groups but one wide one, which takes fewer rows so that a batch's blocks fill a card.
template <bool NARROW> DEVICE constexpr int backward_rows() { return NARROW ? 32 : 8; }

// The threads that share a row: a warp, one of several in the block, or the whole block.
struct Group {
    int lane, lanes, index, count;
};

template <bool NARROW> DEVICE Group my_group() {
    if constexpr (NARROW) {
        return {lane_index(), WARP, warp_index(), warp_count()};
    } else {
        return {(int)threadIdx.x, (int)blockDim.x, 0, 1};
    }
}

template <bool NARROW> DEVICE float group_sum(float value) {
    if constexpr (NARROW) {
        return warp_sum(value);
    } else {
        return block_sum(value);
    }
}

// Where a row begins.
DEVICE size_t row_at(size_t row, int heads, int width, int stride) {
    return row / heads * stride + row % heads * width;
}

// out, x [rows, width], `out_stride` and `stride` from `heads` rows to the next ones.
template <bool NARROW, class X>
DEVICE void normalise(bf16* out, const X* x, const float* weight, int rows, int width, int heads, int stride,
                      int out_stride, float eps) {
    const Group group = my_group<NARROW>();
    const size_t row = (size_t)blockIdx.x * group.count + group.index;
    if (row >= (size_t)rows) {
        return; // A warp as a whole; blocks that share a row have one each.
    }
    x += row_at(row, heads, width, stride);
    out += row_at(row, heads, width, out_stride);
    float squares = 0;
    for (int column = group.lane * 8; column < width; column += group.lanes * 8) {
        float values[8];
        load_8(values, x + column);
        for (int i = 0; i < 8; i++) {
            squares += values[i] * values[i];
        }
    }
    const float r = 1 / sqrtf(group_sum<NARROW>(squares) / width + eps);
    for (int column = group.lane * 8; column < width; column += group.lanes * 8) {
        float values[8], weights[8];
        load_8(values, x + column);
        load_8(weights, weight + column);
        for (int i = 0; i < 8; i++) {
            values[i] *= r * weights[i];
        }
        store_8(out + column, values);
    }
}

#define RMS_NORM(name, NARROW, X)                                                                                     \
    KERNEL(name, bf16* out, const X* x, const float* weight, int rows, int width, int heads, int stride,              \
           int out_stride, float eps) {                                                                               \
        await_previous();                                                                                             \
        normalise<NARROW>(out, x, weight, rows, width, heads, stride, out_stride, eps);                               \
    }
RMS_NORM(rms_norm_warp_f32, true, float)
RMS_NORM(rms_norm_warp_bf16, true, bf16)
RMS_NORM(rms_norm_block_f32, false, float)
RMS_NORM(rms_norm_block_bf16, false, bf16)

// x [rows, width] += the sum of parts [count, rows, width], in their order; then its norm.
template <bool NARROW>
DEVICE void add_and_normalise(bf16* out, float* x, const float* parts, int count, const float* weight, int rows, int width,
                              float eps) {
    const Group group = my_group<NARROW>();
    const size_t row = (size_t)blockIdx.x * group.count + group.index;
    if (row < (size_t)rows) {
        for (int column = group.lane * 8; column < width; column += group.lanes * 8) {
            float values[8], sums[8] = {0};
#pragma unroll 4
            for (int part = 0; part < count; part++) {
                load_8(values, parts + ((size_t)part * rows + row) * width + column);
                for (int i = 0; i < 8; i++) sums[i] += values[i];
            }
            load_8(values, x + row * width + column);
            for (int i = 0; i < 8; i++) values[i] += sums[i];
            store_8(x + row * width + column, values);
        }
    }
    // Each thread reads what it has written.
    normalise<NARROW>(out, x, weight, rows, width, 1, width, width, eps);
}

KERNEL(add_rms_norm_warp, bf16* out, float* x, const float* parts, int count, const float* weight, int rows, int width,
       float eps) {
    await_previous();
    add_and_normalise<true>(out, x, parts, count, weight, rows, width, eps);
}
KERNEL(add_rms_norm_block, bf16* out, float* x, const float* parts, int count, const float* weight, int rows, int width,
       float eps) {
    await_previous();
    add_and_normalise<false>(out, x, parts, count, weight, rows, width, eps);
}

// The gradient of the residual stream is added to; that of a projection is set.
DEVICE void put_gradient(float* d_x, float (&values)[8]) {
    float before[8];
    load_8(before, d_x);
    for (int i = 0; i < 8; i++) {
        values[i] += before[i];
    }
    store_8(d_x, values);
}
DEVICE void put_gradient(bf16* d_x, float (&values)[8]) {
    store_8(d_x, values);
}

// d_x as x; d_y [rows, width] as its stride says; partial [blocks, width] or null: each block's share of dw.
// Dynamic shared memory: [groups, width] floats where dw is wanted.
template <bool NARROW, class X, class G>
DEVICE void gradients(X* d_x, float* partial, const X* x, const float* weight, const G* d_y, int rows, int width,
                      int heads, int stride, int d_y_stride, float eps) {
    DYNAMIC_SHARED(float, shared);
    const Group group = my_group<NARROW>();
    // Each thread adds to columns of its own.
    float* sums = shared + (size_t)group.index * width;
    if (partial) {
        for (int column = group.lane * 8; column < width; column += group.lanes * 8) {
            for (int i = 0; i < 8; i++) {
                sums[column + i] = 0;
            }
        }
    }
    const size_t first = ((size_t)blockIdx.x * group.count + group.index) * backward_rows<NARROW>();
    for (size_t row = first; row < first + backward_rows<NARROW>() && row < (size_t)rows; row++) {
        const size_t place = row_at(row, heads, width, stride);
        const X* x_row = x + place;
        const G* d_y_row = d_y + row_at(row, heads, width, d_y_stride);
        float squares = 0, products = 0;
        for (int column = group.lane * 8; column < width; column += group.lanes * 8) {
            float values[8], weights[8], d[8];
            load_8(values, x_row + column);
            load_8(weights, weight + column);
            load_8(d, d_y_row + column);
            for (int i = 0; i < 8; i++) {
                squares += values[i] * values[i];
                products += d[i] * weights[i] * values[i];
            }
        }
        const float r = 1 / sqrtf(group_sum<NARROW>(squares) / width + eps);
        const float common = group_sum<NARROW>(products) * r * r / width;
        for (int column = group.lane * 8; column < width; column += group.lanes * 8) {
            float values[8], weights[8], d[8], result[8];
            load_8(values, x_row + column);
            load_8(weights, weight + column);
            load_8(d, d_y_row + column);
            for (int i = 0; i < 8; i++) {
                result[i] = r * (d[i] * weights[i] - values[i] * common);
            }
            put_gradient(d_x + place + column, result);
            if (partial) {
                // Eight at a time: one by one, a warp's numbers would lie in four banks only.
                float sum[8];
                load_8(sum, sums + column);
                for (int i = 0; i < 8; i++) {
                    sum[i] += d[i] * values[i] * r;
                }
                store_8(sums + column, sum);
            }
        }
    }
    if (partial) {
        __syncthreads();
        for (int column = threadIdx.x; column < width; column += blockDim.x) {
            float sum = 0;
            for (int i = 0; i < group.count; i++) {
                sum += shared[(size_t)i * width + column];
            }
            partial[(size_t)blockIdx.x * width + column] = sum;
        }
    }
}

#define RMS_NORM_BACKWARD(name, NARROW, X, G)                                                                         \
    KERNEL(name, X* d_x, float* partial, const X* x, const float* weight, const G* d_y, int rows, int width,          \
           int heads, int stride, int d_y_stride, float eps) {                                                        \
        await_previous();                                                                                             \
        gradients<NARROW>(d_x, partial, x, weight, d_y, rows, width, heads, stride, d_y_stride, eps);                 \
    }
RMS_NORM_BACKWARD(rms_norm_backward_warp_f32_f32, true, float, float)
RMS_NORM_BACKWARD(rms_norm_backward_warp_f32_bf16, true, float, bf16)
RMS_NORM_BACKWARD(rms_norm_backward_warp_bf16_f32, true, bf16, float)
RMS_NORM_BACKWARD(rms_norm_backward_warp_bf16_bf16, true, bf16, bf16)
RMS_NORM_BACKWARD(rms_norm_backward_block_f32_f32, false, float, float)
RMS_NORM_BACKWARD(rms_norm_backward_block_f32_bf16, false, float, bf16)
RMS_NORM_BACKWARD(rms_norm_backward_block_bf16_f32, false, bf16, float)
RMS_NORM_BACKWARD(rms_norm_backward_block_bf16_bf16, false, bf16, bf16)
