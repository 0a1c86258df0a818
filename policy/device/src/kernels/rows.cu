// Rows by index and back, sums over rows, and the plain elementwise rest.

// Rows whose columns one block sums up, as in ops/rows.rs.
constexpr int SUM_ROWS = 128;
// Columns of a block of the sums.
constexpr int COLUMNS = 32;

// out [count, width] = table[ids]: a block per row.
template <class To, class From> DEVICE void gather(To* out, const From* table, const unsigned* ids, int width) {
    out += (size_t)blockIdx.x * width;
    table += (size_t)ids[blockIdx.x] * width;
    for (int column = threadIdx.x * 8; column < width; column += blockDim.x * 8) {
        float values[8];
        load_8(values, table + column);
        store_8(out + column, values);
    }
}

KERNEL(gather_f32_f32, float* out, const float* table, const unsigned* ids, int width) {
    await_previous();
    gather(out, table, ids, width);
}
KERNEL(gather_f32_bf16, float* out, const bf16* table, const unsigned* ids, int width) {
    await_previous();
    gather(out, table, ids, width);
}
KERNEL(gather_bf16_f32, bf16* out, const float* table, const unsigned* ids, int width) {
    await_previous();
    gather(out, table, ids, width);
}
KERNEL(gather_bf16_bf16, bf16* out, const bf16* table, const unsigned* ids, int width) {
    await_previous();
    gather(out, table, ids, width);
}

// d_table[distinct[k]] += the rows order[starts[k] .. starts[k + 1]] of d_y, in that order. A block per distinct row
// (x) and piece of its columns (y).
template <class G>
DEVICE void scatter(float* d_table, const G* d_y, const unsigned* distinct, const unsigned* starts,
                    const unsigned* order, int width) {
    const int column = (blockIdx.y * blockDim.x + threadIdx.x) * 8;
    if (column >= width) {
        return;
    }
    float sums[8] = {0};
    const unsigned end = starts[blockIdx.x + 1];
    for (unsigned at = starts[blockIdx.x]; at < end; at++) {
        float values[8];
        load_8(values, d_y + (size_t)order[at] * width + column);
        for (int i = 0; i < 8; i++) {
            sums[i] += values[i];
        }
    }
    float* to = d_table + (size_t)distinct[blockIdx.x] * width + column;
    float before[8];
    load_8(before, to);
    for (int i = 0; i < 8; i++) {
        before[i] += sums[i];
    }
    store_8(to, before);
}

KERNEL(scatter_f32, float* d_table, const float* d_y, const unsigned* distinct, const unsigned* starts,
       const unsigned* order, int width) {
    await_previous();
    scatter(d_table, d_y, distinct, starts, order, width);
}
KERNEL(scatter_bf16, float* d_table, const bf16* d_y, const unsigned* distinct, const unsigned* starts,
       const unsigned* order, int width) {
    await_previous();
    scatter(d_table, d_y, distinct, starts, order, width);
}

// rows [n] of `width` numbers, `stride` apart, += bias [width]: a block per row.
template <class T> DEVICE void bias_rows(T* rows, const float* bias, int width, int stride) {
    rows += (size_t)blockIdx.x * stride;
    for (int column = threadIdx.x * 8; column < width; column += blockDim.x * 8) {
        float values[8], added[8];
        load_8(values, rows + column);
        load_8(added, bias + column);
        for (int i = 0; i < 8; i++) {
            values[i] += added[i];
        }
        store_8(rows + column, values);
    }
}

KERNEL(add_bias_f32, float* rows, const float* bias, int width, int stride) {
    await_previous();
    bias_rows(rows, bias, width, stride);
}
KERNEL(add_bias_bf16, bf16* rows, const float* bias, int width, int stride) {
    await_previous();
    bias_rows(rows, bias, width, stride);
}

DEVICE float number(float value) { return value; }
DEVICE float number(bf16 value) { return to_float(value); }

// Sums up `count` rows, of which this thread takes every eighth of one column; the first warp returns the whole
// column's sum. Blocks of 256 threads: 32 columns by 8.
template <class T> DEVICE float column_sum(const T* rows, size_t count, int column, int width, size_t stride) {
    SHARED(float, sums, 256);
    const int slice = threadIdx.x / COLUMNS;
    float sum = 0;
    if (column < width) {
        // The order of the sum stays; eight rows are on their way at once.
#pragma unroll 8
        for (size_t row = slice; row < count; row += 8) {
            sum += number(rows[row * stride + column]);
        }
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (slice == 0) {
        for (int i = 1; i < 8; i++) {
            sum += sums[i * COLUMNS + threadIdx.x];
        }
    }
    return sum;
}

// partial [blocks of rows, width]: the sums over SUM_ROWS rows; blocks of columns (x) and of rows (y).
template <class T> DEVICE void sum_block(float* partial, const T* rows, int n, int width, int stride) {
    const int column = blockIdx.x * COLUMNS + threadIdx.x % COLUMNS;
    const size_t first = (size_t)blockIdx.y * SUM_ROWS;
    const size_t count = n - first < SUM_ROWS ? n - first : SUM_ROWS;
    const float sum = column_sum(rows + first * stride, count, column, width, stride);
    if (threadIdx.x < COLUMNS && column < width) {
        partial[(size_t)blockIdx.y * width + column] = sum;
    }
}

KERNEL(sum_rows_f32, float* partial, const float* rows, int n, int width, int stride) {
    await_previous();
    sum_block(partial, rows, n, width, stride);
}
KERNEL(sum_rows_bf16, float* partial, const bf16* rows, int n, int width, int stride) {
    await_previous();
    sum_block(partial, rows, n, width, stride);
}

// out [width] += the sum over `count` rows of partial [count, width].
KERNEL(add_partial, float* out, const float* partial, int count, int width) {
    await_previous();
    const int column = blockIdx.x * COLUMNS + threadIdx.x % COLUMNS;
    const float sum = column_sum(partial, count, column, width, width);
    if (threadIdx.x < COLUMNS && column < width) {
        out[column] += sum;
    }
}

// Elementwise, any length and alignment: each thread takes numbers a grid apart, so that a warp's lie together.
#define EACH(index, count)                                                                                            \
    for (size_t index = (size_t)blockIdx.x * blockDim.x + threadIdx.x; index < (count);                               \
         index += (size_t)gridDim.x * blockDim.x)

KERNEL(add_f32, float* to, const float* x, size_t count) {
    await_previous();
    EACH(i, count) { to[i] += x[i]; }
}
KERNEL(add_bf16, float* to, const bf16* x, size_t count) {
    await_previous();
    EACH(i, count) { to[i] += to_float(x[i]); }
}
KERNEL(narrow, bf16* to, const float* x, size_t count) {
    await_previous();
    EACH(i, count) { to[i] = to_bf16(x[i]); }
}
KERNEL(widen, float* to, const bf16* x, size_t count) {
    await_previous();
    EACH(i, count) { to[i] = to_float(x[i]); }
}
KERNEL(fill, float* to, float value, size_t count) {
    await_previous();
    EACH(i, count) { to[i] = value; }
}
KERNEL(scale, float* to, float factor, size_t count) {
    await_previous();
    EACH(i, count) { to[i] *= factor; }
}
