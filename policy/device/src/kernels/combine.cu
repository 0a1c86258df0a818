// Adds up what the experts made of each token's row, and takes gates to expert order and back. Sums run in the order of a token's
// slots, so the result does not depend on how the rows were grouped.
//
// Widths are multiples of 8; a thread holds eight neighbouring numbers of a row. In sums, blockIdx.x is the token, and
// y counts the blocks that its columns need.

constexpr int EIGHT = 8;

// y [rows, width] += sum over slots of gates [rows, top_k] * results [pairs, width] at place [rows, top_k].
// The sum is added as one number: the order in which the processor's kernels add.
KERNEL(combine, float* y, const bf16* results, const float* gates, const unsigned* place, int width, int top_k) {
    await_previous();
    size_t row = blockIdx.x;
    int column = (blockIdx.y * blockDim.x + threadIdx.x) * EIGHT;
    if (column >= width) return;
    float sum[EIGHT] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int slot = 0; slot < top_k; slot++) {
        size_t pair = row * top_k + slot;
        float gate = gates[pair];
        float values[EIGHT];
        load_8(values, results + static_cast<size_t>(place[pair]) * width + column);
        for (int i = 0; i < EIGHT; i++) sum[i] += gate * values[i];
    }
    float old[EIGHT];
    float* out = y + row * width + column;
    load_8(old, out);
    for (int i = 0; i < EIGHT; i++) old[i] += sum[i];
    store_8(out, old);
}

// sorted [pairs] in expert order from gates [rows, top_k].
KERNEL(gates_to_places, float* sorted, const float* gates, const unsigned* place, size_t pairs) {
    await_previous();
    size_t pair = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (pair < pairs) sorted[place[pair]] = gates[pair];
}

// gates [rows, top_k] from sorted [pairs] in expert order.
KERNEL(gates_from_places, float* gates, const float* sorted, const unsigned* place, size_t pairs) {
    await_previous();
    size_t pair = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (pair < pairs) gates[pair] = sorted[place[pair]];
}

// out [rows, width] = (add ? out : 0) + sum over slots of values [pairs, width] at place [rows, top_k].
template <typename T>
DEVICE void sum_of_slots(T* out, const bf16* values, const unsigned* place, int width, int top_k, int add) {
    size_t row = blockIdx.x;
    int column = (blockIdx.y * blockDim.x + threadIdx.x) * EIGHT;
    if (column >= width) return;
    float sum[EIGHT] = {0, 0, 0, 0, 0, 0, 0, 0};
    if (add) load_8(sum, out + row * width + column);
    for (int slot = 0; slot < top_k; slot++) {
        float value[EIGHT];
        load_8(value, values + static_cast<size_t>(place[row * top_k + slot]) * width + column);
        for (int i = 0; i < EIGHT; i++) sum[i] += value[i];
    }
    store_8(out + row * width + column, sum);
}

KERNEL(sum_slots_bf16, bf16* out, const bf16* values, const unsigned* place, int width, int top_k, int add) {
    await_previous();
    sum_of_slots(out, values, place, width, top_k, add);
}

KERNEL(sum_slots_f32, float* out, const bf16* values, const unsigned* place, int width, int top_k, int add) {
    await_previous();
    sum_of_slots(out, values, place, width, top_k, add);
}
