// Attention over packed trees of sequences, forward.
//
// Dao, "FlashAttention-2", 2023: a block keeps a tile of queries, walks over tiles of keys and values, and keeps for each
// row the largest score so far, the sum of exp(score - largest) and the sum of the values weighted so; when the largest
// grows, the sums shrink. Scores are never stored. What differs here is which keys a query sees: all rows of its segment's
// ancestors and, causally, its own segment. Ancestors stand earlier in the batch, so "key row <= query row" holds for all
// of them, and the walk over the segment's runs of rows does the rest.
//
// QK: width of a head's query and key; V: of its value; both multiples of 8.

constexpr int WARPS = 4;
constexpr int THREADS = 32 * WARPS;
// Tiles of 16 queries that a warp computes at once: what it reads of keys and values serves them all.
constexpr int M = 2;
constexpr int ROWS = 16 * M * WARPS;
constexpr int KEYS = 64;

// out     [rows, heads, V]
// totals  [heads, rows]: log of the sum of exp(score) of each row
// query   [rows, heads, QK], key and value [rows, heads / group, QK or V], as their strides say
// blocks  [gridDim.x, 4]: first row, end of rows (ROWS or fewer, of one segment), and its part of `runs`
// runs    [.., 2]: rows start .. end that the block's segment sees, in order, the segment's own last
KERNEL_BOUNDS(128, 2, attention_forward, bf16* out, float* totals, const bf16* query, const bf16* key, const bf16* value,
    const int* blocks, const int* runs, int rows, int heads, int group, int query_row, int query_head, int key_row,
    int key_head, int value_row, int value_head, float scale) {
    await_previous();
    DYNAMIC_SHARED(bf16, shared);
    bf16* queries = shared;                        // [ROWS, QK]; in the end the results [ROWS, V]
    bf16* keys = queries + ROWS * max(tile_stride(QK), tile_stride(V)); // [KEYS, QK]
    bf16* values = keys + KEYS * tile_stride(QK);  // [KEYS, V]

    const int* block = blocks + 4 * blockIdx.x;
    int first = block[0], end = block[1], head = blockIdx.y;
    query += static_cast<size_t>(head) * query_head;
    key += static_cast<size_t>(head / group) * key_head;
    value += static_cast<size_t>(head / group) * value_head;
    int lane = threadIdx.x % 32, warp_row = threadIdx.x / 32 * 16 * M;
    int warp_first = first + warp_row, warp_last = min(warp_first + 16 * M, end) - 1;

    Walk walk = walk_through(runs, block[2], block[3], end);
    load_tile<QK, ROWS, THREADS>(queries, query, query_row, first, end);
    load_tile<QK, KEYS, THREADS>(keys, key, key_row, walk.first, walk.end);
    copy_commit();

    float sums[M][filled(V) / 8][4];
    clear(sums);
    float largest[M][2], total[M][2];
    for (int m = 0; m < M; ++m)
        for (int half = 0; half < 2; ++half) largest[m][half] = minus_infinity(), total[m][half] = 0.0f;
    float scale_log2 = scale * LOG2_E;

    while (rows_left(walk)) {
        int tile_first = walk.first, tile_end = walk.end;
        // A warp without rows, or whose rows all stand before the tile, has nothing to add.
        bool sees = warp_first <= warp_last && tile_first <= warp_last;
        copy_wait<0>();
        __syncthreads(); // The keys are there, and nobody reads the values before any more.
        load_tile<V, KEYS, THREADS>(values, value, value_row, tile_first, tile_end);
        copy_commit();

        float scores[M][KEYS / 8][4];
        if (sees) {
            clear(scores);
            // What a row does not see starts, and stays, at minus infinity.
            if (tile_first + KEYS > tile_end || tile_first + KEYS - 1 > warp_first) {
#pragma unroll
                for (int m = 0; m < M; ++m)
#pragma unroll
                    for (int half = 0; half < 2; ++half) {
                        // The last key that this row sees; a row past the block's end sees what the last row sees.
                        const int row = warp_first + 16 * m + 8 * half + lane / 4;
                        const int last = min(tile_end - 1, row) - tile_first - lane % 4 * 2;
#pragma unroll
                        for (int t = 0; t < KEYS / 8; ++t)
#pragma unroll
                            for (int i = 0; i < 2; ++i)
                                if (8 * t + i > last) scores[m][t][2 * half + i] = minus_infinity();
                    }
            }
            multiply_rows<QK>(scores, queries, warp_row, keys, 0);
        }
        copy_wait<0>();
        __syncthreads(); // The values are there, and nobody reads the keys any more.
        next_tile(walk, KEYS);
        if (rows_left(walk)) load_tile<QK, KEYS, THREADS>(keys, key, key_row, walk.first, walk.end);
        copy_commit();

        if (sees) {
#pragma unroll
            for (int m = 0; m < M; ++m)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    float tile_largest = largest[m][half];
#pragma unroll
                    for (int t = 0; t < KEYS / 8; ++t)
#pragma unroll
                        for (int i = 0; i < 2; ++i) tile_largest = fmaxf(tile_largest, scores[m][t][2 * half + i]);
                    tile_largest = fmaxf(tile_largest, shuffle_xor(tile_largest, 1));
                    tile_largest = fmaxf(tile_largest, shuffle_xor(tile_largest, 2));
                    // Each row sees the first key of its first tile, so its largest score is a number from then on.
                    float shift = tile_largest * scale_log2;
                    float shrink = fast_exp2(largest[m][half] * scale_log2 - shift);
                    largest[m][half] = tile_largest;
                    float sum = 0.0f;
#pragma unroll
                    for (int t = 0; t < KEYS / 8; ++t)
#pragma unroll
                        for (int i = 0; i < 2; ++i) {
                            float& score = scores[m][t][2 * half + i];
                            score = fast_exp2(score * scale_log2 - shift);
                            sum += score;
                        }
                    total[m][half] = total[m][half] * shrink + sum;
#pragma unroll
                    for (int t = 0; t < filled(V) / 8; ++t)
#pragma unroll
                        for (int i = 0; i < 2; ++i) sums[m][t][2 * half + i] *= shrink;
                }
            multiply_columns<V>(sums, scores, values);
        }
    }

    float factors[M][2];
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float sum = total[m][half];
            sum += shuffle_xor(sum, 1);
            sum += shuffle_xor(sum, 2);
            factors[m][half] = 1.0f / sum;
            int row = warp_first + 16 * m + 8 * half + lane / 4;
            if (lane % 4 == 0 && row < end) {
                totals[static_cast<size_t>(head) * rows + row] = largest[m][half] * scale + logf(sum);
            }
        }
    __syncthreads(); // Nobody reads the queries any more.
    store_sums<V>(queries, warp_row, sums, factors);
    __syncthreads();
    store_tile<V, ROWS, THREADS>(out + static_cast<size_t>(head) * V, static_cast<size_t>(heads) * V, first, end, queries);
}
