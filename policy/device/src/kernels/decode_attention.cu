// Attention of one new token of each sequence over a paged cache.
//
// The cache is a list of pages of PAGE_TOKENS tokens (Kwon et al., "Efficient Memory Management for Large Language Model
// Serving with PagedAttention", 2023); a sequence's row of `pages` says which hold its tokens, and sequences share pages.
// Heads that share a key are the rows of a tile: a key is read once for all of them. The tokens of a sequence are split
// among blocks (Dao et al., "Flash-Decoding", 2023). Each counts itself when its results are there; the one that is last puts
// them together, in the order of the splits, so it makes no difference which it is. What a block computes depends on its own
// sequence only: the grid is the same whatever the lengths, blocks without tokens return.
//
// A block's warps divide a tile's keys among themselves for the scores, and the columns of the values for the sums; what
// they must know of each other passes through shared memory.
//
// In multi-head latent attention (DeepSeek-V2, section 2.1.3) all heads share one key, the latent and the rotary key side by
// side, and the value is the latent: VALUE_IN_KEY = 1 says that the value is the first V numbers of the key.
//
// QK, V: widths, multiples of 8; ROW_TILES: tiles of 16 heads that a block computes, 1, 2 or 4. STAGES: tiles of keys and
// values in shared memory; of 2 one is fetched while the other is computed with, 1 is for cards that have no room for two.

constexpr int WARPS = V > 256 ? 8 : 4;
constexpr int THREADS = 32 * WARPS;
constexpr int ROWS = 16 * ROW_TILES;
constexpr int KEYS = 64;
// Tiles of 16 rows for each warp, groups of warps with rows of their own, warps in a group.
constexpr int M = ROW_TILES > 1 ? 2 : 1;
constexpr int GROUPS = ROW_TILES / M;
constexpr int PARTS = WARPS / GROUPS;
// A warp's share of a tile's keys, and of the values' columns, 16 at a time.
constexpr int PART_KEYS = KEYS / PARTS;
constexpr int STEPS = (filled(V) / 16 + PARTS - 1) / PARTS;
// Where a key is longer than its value by a tile's keys, the weights take the place of the rest once it has been used.
constexpr bool WEIGHTS_IN_KEY = VALUE_IN_KEY && QK - V >= KEYS && ROWS <= KEYS;
constexpr int WEIGHT_STRIDE = WEIGHTS_IN_KEY ? tile_stride(QK) : tile_stride(KEYS);

// Starts to copy tokens first .. first + KEYS of a sequence from the pages of a cache [pages, PAGE_TOKENS, row_stride].
template <int WIDTH>
DEVICE void load_paged(bf16* tile, const bf16* cache, size_t row_stride, const int* pages, int first, int end) {
    // As in load_tile.
    constexpr int CHUNKS = filled(WIDTH) / 8, COLUMNS = CHUNKS % 8 == 0 ? 8 : CHUNKS % 4 == 0 ? 4 : 2;
    const int column = threadIdx.x % COLUMNS * 8;
    for (int row = threadIdx.x / COLUMNS; row < KEYS; row += THREADS / COLUMNS) {
        const int token = first + row;
        const bool valid = token < end;
        const bf16* from = cache + column;
        if (valid) {
            const size_t page = pages[token / PAGE_TOKENS];
            from += (page * PAGE_TOKENS + token % PAGE_TOKENS) * row_stride;
        }
        bf16* to = tile + row * tile_stride(WIDTH) + column;
#pragma unroll
        for (int more = 0; more < 8 * CHUNKS; more += 8 * COLUMNS)
            copy_async_16(to + more, from + more, valid && (WIDTH % 16 == 0 || column + more < WIDTH));
    }
}

// The tiles of a sequence's split: how many each takes, and so how many splits have any.
DEVICE int tiles_of_split(int length, int splits) { return ((length + KEYS - 1) / KEYS + splits - 1) / splits; }

// One head's splits put together by a warp, in order: out [V].
DEVICE void combine_splits(bf16* out, const float* partial, const float* totals, int used) {
    float largest = minus_infinity();
    for (int split = 0; split < used; ++split) largest = fmaxf(largest, totals[split]);
    float total = 0.0f;
    for (int split = 0; split < used; ++split) total += fast_exp2(totals[split] - largest);
    for (int column = 4 * lane_index(); column < V; column += 4 * WARP) {
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        for (int split = 0; split < used; ++split) {
            const float weight = fast_exp2(totals[split] - largest);
            const float4 part = *reinterpret_cast<const float4*>(partial + static_cast<size_t>(split) * V + column);
            sum.x += weight * part.x, sum.y += weight * part.y, sum.z += weight * part.z, sum.w += weight * part.w;
        }
        *reinterpret_cast<uint2*>(out + column) =
            make_uint2(pack_bf16(sum.x / total, sum.y / total), pack_bf16(sum.z / total, sum.w / total));
    }
}

// out     [sequences, heads, V]; zeros for a sequence of length 0
// partial [sequences, heads, splits, V], the splits' results
// totals  [sequences, heads, splits], the logs to base 2 of their sums of exp(score)
// query   [sequences, heads, QK]
// keys    [pages, PAGE_TOKENS, key heads, QK] and values [.., V], as their strides say
// pages   [sequences, page_row]; lengths [sequences], the new token included
// done    [sequences, gridDim.y]: how many splits are done, 0 before and after
// grid    splits; key heads times tiles of ROWS of their heads; sequences
KERNEL_BOUNDS(THREADS, 1, decode_attention, bf16* out, float* partial, float* totals, unsigned* done, const bf16* query,
              const bf16* keys, const bf16* values, const int* pages, const int* lengths, int page_row, int heads, int group,
              int key_row, int key_head, int value_row, int value_head, float scale) {
    await_previous();
    DYNAMIC_SHARED(bf16, shared);
    constexpr int KEY_TILE = KEYS * tile_stride(QK), VALUE_TILE = VALUE_IN_KEY ? 0 : KEYS * tile_stride(V);
    bf16* queries = shared;                              // [ROWS, QK]
    bf16* key_tiles = queries + ROWS * tile_stride(QK);  // [STAGES, KEYS, QK]
    bf16* value_tiles = key_tiles + STAGES * KEY_TILE;   // [STAGES, KEYS, V]
    float* row_parts = reinterpret_cast<float*>(value_tiles + STAGES * VALUE_TILE); // [PARTS, ROWS]
    bf16* own_weights = reinterpret_cast<bf16*>(row_parts + PARTS * ROWS);     // [ROWS, KEYS], unless WEIGHTS_IN_KEY

    const int splits = gridDim.x, split = blockIdx.x, sequence = blockIdx.z;
    const int length = lengths[sequence], share = tiles_of_split(length, splits) * KEYS;
    const int first = split * share, end = min(first + share, length);
    const int row_blocks = (group + ROWS - 1) / ROWS;
    const int shared_head = blockIdx.y / row_blocks, row_block = blockIdx.y % row_blocks;
    const int first_head = shared_head * group + row_block * ROWS, rows = min(ROWS, group - row_block * ROWS);
    const size_t place = static_cast<size_t>(sequence) * heads + first_head; // Of the block's first head.
    out += place * V;
    if (first >= end) {
        if (length == 0 && split == 0)
            for (int at = threadIdx.x; at < rows * V; at += THREADS) out[at] = to_bf16(0.0f);
        return;
    }
    partial += place * splits * V;
    totals += place * splits;
    keys += static_cast<size_t>(shared_head) * key_head;
    values += static_cast<size_t>(shared_head) * value_head;
    pages += static_cast<size_t>(sequence) * page_row;
    query += place * QK;
    const int lane = lane_index(), warp_row = warp_index() / PARTS * 16 * M, part = warp_index() % PARTS;

    auto fetch = [&](int stage, int token) {
        load_paged<QK>(key_tiles + stage * KEY_TILE, keys, key_row, pages, token, end);
        if constexpr (!VALUE_IN_KEY) load_paged<V>(value_tiles + stage * VALUE_TILE, values, value_row, pages, token, end);
    };
    load_tile<QK, ROWS, THREADS>(queries, query, QK, 0, rows);
    fetch(0, first);
    copy_commit();

    float sums[M][2 * STEPS][4];
    clear(sums);
    float largest[M][2], total[M][2];
    for (int m = 0; m < M; ++m)
        for (int half = 0; half < 2; ++half) largest[m][half] = minus_infinity(), total[m][half] = 0.0f;
    const float scale_log2 = scale * LOG2_E;

    for (int token = first, stage = 0; token < end; token += KEYS, stage ^= STAGES - 1) {
        copy_wait<0>();
        __syncthreads(); // The tile is there, and nobody reads the one before any more.
        if (STAGES > 1 && token + KEYS < end) fetch(stage ^ 1, token + KEYS);
        copy_commit();

        bf16* tile = key_tiles + stage * KEY_TILE;
        bf16* weights = WEIGHTS_IN_KEY ? tile + V : own_weights;
        float scores[M][PART_KEYS / 8][4];
        clear(scores);
        multiply_rows<QK>(scores, queries, warp_row, tile, part * PART_KEYS);
        // Each row's largest score: of the warp's keys, then of the tile's.
        const int last = end - 1 - token - part * PART_KEYS;
#pragma unroll
        for (int m = 0; m < M; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float part_largest = minus_infinity();
#pragma unroll
                for (int t = 0; t < PART_KEYS / 8; ++t)
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        float& score = scores[m][t][2 * half + i];
                        score = 8 * t + lane % 4 * 2 + i > last ? minus_infinity() : score * scale_log2;
                        part_largest = fmaxf(part_largest, score);
                    }
                part_largest = fmaxf(part_largest, shuffle_xor(part_largest, 1));
                part_largest = fmaxf(part_largest, shuffle_xor(part_largest, 2));
                if (lane % 4 == 0) row_parts[part * ROWS + warp_row + 16 * m + 8 * half + lane / 4] = part_largest;
            }
        __syncthreads(); // All scores are computed, and each part's largest are there.
        float shrink[M][2];
#pragma unroll
        for (int m = 0; m < M; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int row = warp_row + 16 * m + 8 * half + lane / 4;
                float now = largest[m][half];
#pragma unroll
                for (int other = 0; other < PARTS; ++other) now = fmaxf(now, row_parts[other * ROWS + row]);
                shrink[m][half] = fast_exp2(largest[m][half] - now);
                largest[m][half] = now;
                float sum = 0.0f;
#pragma unroll
                for (int t = 0; t < PART_KEYS / 8; ++t) {
                    float& low = scores[m][t][2 * half];
                    float& high = scores[m][t][2 * half + 1];
                    low = fast_exp2(low - now), high = fast_exp2(high - now);
                    sum += low + high;
                    bf16* to = weights + row * WEIGHT_STRIDE + part * PART_KEYS + 8 * t + lane % 4 * 2;
                    *reinterpret_cast<unsigned*>(to) = pack_bf16(low, high);
                }
                total[m][half] = total[m][half] * shrink[m][half] + sum;
            }
        __syncthreads(); // All weights are there.
        const bf16* tile_values = VALUE_IN_KEY ? tile : value_tiles + stage * VALUE_TILE;
        constexpr int VALUE_STRIDE = VALUE_IN_KEY ? tile_stride(QK) : tile_stride(V);
#pragma unroll
        for (int m = 0; m < M; ++m)
#pragma unroll
            for (int t = 0; t < 2 * STEPS; ++t)
#pragma unroll
                for (int i = 0; i < 4; ++i) sums[m][t][i] *= shrink[m][i / 2];
#pragma unroll
        for (int key = 0; key < KEYS; key += 16) {
            unsigned a[M][4];
#pragma unroll
            for (int m = 0; m < M; ++m) load_left(a[m], weights, WEIGHT_STRIDE, warp_row + 16 * m, key);
#pragma unroll
            for (int step = 0; step < STEPS; ++step) {
                const int column = 16 * (part * STEPS + step);
                if (column >= V) break;
                unsigned b[2][2];
                load_right_columns(b, tile_values, VALUE_STRIDE, key, column);
#pragma unroll
                for (int m = 0; m < M; ++m) {
                    mma_bf16_16x8x16(sums[m][2 * step], a[m], b[0]);
                    mma_bf16_16x8x16(sums[m][2 * step + 1], a[m], b[1]);
                }
            }
        }
        if constexpr (STAGES == 1) {
            __syncthreads(); // Nobody reads the tile any more.
            if (token + KEYS < end) fetch(0, token + KEYS);
            copy_commit();
        }
    }

    // Each row's sum over all parts.
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float sum = total[m][half];
            sum += shuffle_xor(sum, 1);
            sum += shuffle_xor(sum, 2);
            if (lane % 4 == 0) row_parts[part * ROWS + warp_row + 16 * m + 8 * half + lane / 4] = sum;
        }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = warp_row + 16 * m + 8 * half + lane / 4;
            float sum = 0.0f;
            for (int other = 0; other < PARTS; ++other) sum += row_parts[other * ROWS + row];
            if (row >= rows) continue;
            const size_t at = static_cast<size_t>(row) * splits + split;
            if (part == 0 && lane % 4 == 0) totals[at] = largest[m][half] + log2f(sum);
#pragma unroll
            for (int t = 0; t < 2 * STEPS; ++t) {
                const int column = 16 * part * STEPS + 8 * t + lane % 4 * 2;
                if (column >= V) continue;
                const float low = sums[m][t][2 * half] / sum, high = sums[m][t][2 * half + 1] / sum;
                *reinterpret_cast<float2*>(partial + at * V + column) = make_float2(low, high);
            }
        }

    // The one that counts to the number of splits sees what all others have written before they counted.
    SHARED(int, last, 1);
    const int used = (length + share - 1) / share;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        unsigned* own_done = done + static_cast<size_t>(sequence) * gridDim.y + blockIdx.y;
        last[0] = atomicAdd(own_done, 1u) + 1 == static_cast<unsigned>(used);
        if (last[0]) *own_done = 0; // For the next launch.
    }
    __syncthreads();
    if (!last[0]) return;
    __threadfence();
    for (int row = warp_index(); row < rows; row += WARPS)
        combine_splits(out + row * V, partial + static_cast<size_t>(row) * splits * V, totals + row * splits, used);
}
