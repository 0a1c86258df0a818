// Kernels that show what the warp's operations do. Fragments are laid out by the formulas of the PTX manual
// ("Matrix fragments for mma.m16n8k16 with floating point type"), element by element.

// d [16, 8] = a [16, 16] b [16, 8] + c [16, 8], b row-major.
KERNEL(multiply_by_formula, float* d, const bf16* a, const bf16* b, const float* c) {
    const int group = lane_index() >> 2, thread_in_group = lane_index() % 4;
    bf16 fragment_a[8], fragment_b[4];
    float fragment_d[4];
    for (int i = 0; i < 8; ++i) {
        const int row = (i < 2 || (4 <= i && i < 6)) ? group : group + 8;
        const int column = thread_in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
        fragment_a[i] = a[row * 16 + column];
    }
    for (int i = 0; i < 4; ++i) fragment_b[i] = b[(thread_in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0)) * 8 + group];
    for (int i = 0; i < 4; ++i) fragment_d[i] = c[(i < 2 ? group : group + 8) * 8 + thread_in_group * 2 + (i & 1)];
    unsigned packed_a[4], packed_b[2];
    for (int i = 0; i < 4; ++i) packed_a[i] = pack_bf16(fragment_a[2 * i], fragment_a[2 * i + 1]);
    for (int i = 0; i < 2; ++i) packed_b[i] = pack_bf16(fragment_b[2 * i], fragment_b[2 * i + 1]);
    mma_bf16_16x8x16(fragment_d, packed_a, packed_b);
    for (int i = 0; i < 4; ++i) d[(i < 2 ? group : group + 8) * 8 + thread_in_group * 2 + (i & 1)] = fragment_d[i];
}

// Which numbers each lane gets: out [lane, register, half] for a table of 8-wide rows in shared memory.
KERNEL(load_x4, unsigned short* out, const unsigned short* table, int transposed) {
    SHARED(unsigned short, rows, 32 * 8);
    for (int at = threadIdx.x; at < 32 * 8; at += blockDim.x) rows[at] = table[at];
    __syncthreads();
    unsigned r[4];
    if (transposed) load_matrix_x4_transposed(r, rows + lane_index() * 8);
    else load_matrix_x4(r, rows + lane_index() * 8);
    for (int i = 0; i < 8; ++i) out[lane_index() * 8 + i] = r[i / 2] >> (16 * (i % 2));
}
KERNEL(load_x2, unsigned short* out, const unsigned short* table, int transposed) {
    DYNAMIC_SHARED(unsigned short, rows);
    for (int at = threadIdx.x; at < 16 * 8; at += blockDim.x) rows[at] = table[at];
    __syncthreads();
    unsigned r[2];
    // Lanes 16 to 31 give addresses that are not used, but must be valid.
    if (transposed) load_matrix_x2_transposed(r, rows + lane_index() % 16 * 8);
    else load_matrix_x2(r, rows + lane_index() % 16 * 8);
    for (int i = 0; i < 4; ++i) out[lane_index() * 4 + i] = r[i / 2] >> (16 * (i % 2));
}

// d [16, 8] = a [16, 16] b, b [16, 8] or, if transposed, [8, 16]: as a product of tiles is usually written.
KERNEL(multiply_tiles, float* d, const bf16* a, const bf16* b, int b_transposed) {
    SHARED(bf16, tile_a, 16 * 16);
    SHARED(bf16, tile_b, 16 * 8);
    copy_async_16(tile_a + lane_index() * 8, a + lane_index() * 8, true);
    if (lane_index() < 16) copy_async_16(tile_b + lane_index() * 8, b + lane_index() * 8, true);
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    unsigned fragment_a[4], fragment_b[2];
    load_matrix_x4(fragment_a, tile_a + lane_index() % 16 * 16 + lane_index() / 16 * 8);
    if (b_transposed) load_matrix_x2(fragment_b, tile_b + lane_index() % 8 * 16 + lane_index() / 8 % 2 * 8);
    else load_matrix_x2_transposed(fragment_b, tile_b + lane_index() % 16 * 8);
    float sum[4] = {0, 0, 0, 0};
    mma_bf16_16x8x16(sum, fragment_a, fragment_b);
    for (int i = 0; i < 4; ++i) d[(lane_index() / 4 + i / 2 * 8) * 8 + lane_index() % 4 * 2 + i % 2] = sum[i];
}

// Each row of out is another operation, for the lanes' values.
KERNEL(shuffles, int* out, const int* in) {
    const int value = in[threadIdx.x];
    int* row = out + threadIdx.x;
    row[0] = shuffle_xor(value, 5);
    row[64] = shuffle(value, (lane_index() + 3) % 32);
    row[128] = shuffle_up(value, 2);
    row[192] = shuffle_down(value, 2);
    row[256] = static_cast<int>(warp_ballot(value % 3 == 0));
    row[320] = warp_sum(value);
    row[384] = warp_max(value);
    row[448] = block_sum(value);
    row[512] = block_max(value);
}

// Two groups of copies, of which the first is waited for first; a copy that is not valid gives zeros.
KERNEL(copies, unsigned* out, const unsigned* in) {
    SHARED(unsigned, first, 32 * 4);
    SHARED(unsigned, second, 32 * 4);
    copy_async_16(first + threadIdx.x * 4, in + threadIdx.x * 4, true);
    copy_commit();
    const bool valid = threadIdx.x % 2 == 0;
    copy_async_16(second + threadIdx.x * 4, valid ? in + 128 + threadIdx.x * 4 : in, valid);
    copy_commit();
    copy_wait<1>();
    __syncthreads();
    for (int i = 0; i < 4; ++i) out[i * 32 + threadIdx.x] = first[i * 32 + threadIdx.x];
    copy_wait<0>();
    __syncthreads();
    for (int i = 0; i < 4; ++i) out[128 + i * 32 + threadIdx.x] = second[i * 32 + threadIdx.x];
}

KERNEL(round_floats, bf16* out, unsigned* pairs, const float* in, int n) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= n) return;
    out[at] = to_bf16(in[at]);
    pairs[at] = pack_bf16(in[at], -in[at]);
}

// Through eight numbers at once.
KERNEL(halve_8, bf16* rounded, float* exact, const bf16* in, int n) {
    const int at = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (at >= n) return;
    float values[8], again[8];
    load_8(values, in + at);
    for (int i = 0; i < 8; ++i) values[i] *= 0.5f;
    store_8(exact + at, values);
    load_8(again, exact + at);
    store_8(rounded + at, again);
}
