// Rows of heads moved between layouts, and summed over heads. Eight numbers at a time: widths and strides are multiples
// of 8.

// out [rows, heads, width] = x, each as its strides say. A stride of 0 from head to head of x gives each head the same.
KERNEL(copy_heads, bf16* out, const bf16* x, int rows, int heads, int width, int out_row, int out_head, int x_row,
       int x_head) {
    await_previous();
    const int chunks = width / 8;
    const size_t at = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= static_cast<size_t>(rows) * heads * chunks) return;
    const int column = at % chunks * 8, head = at / chunks % heads;
    const size_t row = at / chunks / heads;
    const bf16* from = x + row * x_row + static_cast<size_t>(head) * x_head + column;
    bf16* to = out + row * out_row + static_cast<size_t>(head) * out_head + column;
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
}

// out [rows, width] = the sum of x [rows, heads, width] over heads, in order.
KERNEL(sum_heads, bf16* out, const bf16* x, int rows, int heads, int width, int out_row, int x_row, int x_head) {
    await_previous();
    const int chunks = width / 8;
    const size_t at = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= static_cast<size_t>(rows) * chunks) return;
    const int column = at % chunks * 8;
    const size_t row = at / chunks;
    float sums[8] = {};
    for (int head = 0; head < heads; ++head) {
        float values[8];
        load_8(values, x + row * x_row + static_cast<size_t>(head) * x_head + column);
        for (int i = 0; i < 8; ++i) sums[i] += values[i];
    }
    store_8(out + row * out_row + column, sums);
}
