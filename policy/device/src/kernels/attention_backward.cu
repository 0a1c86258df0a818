// Attention over packed trees of sequences, backward.
//
// Dao, "FlashAttention-2", 2023: the weights p = exp(score - total) are computed anew, tile by tile. With the gradient d of
// the results, and for each row the product `dot` of d with the result: dp = d v^T, ds = p (dp - dot), and then
// dv = p^T d, dk = scale ds^T q, dq = scale ds k. One kernel goes over blocks of keys, for dk and dv, one over blocks of
// queries, for dq, so that no two blocks add to the same place and a result is the same to the bit each time; the price is
// that p and dp are computed twice. The first has keys as the rows of its products, so that p^T and ds^T come out as the
// left factors that the next products need, and never pass through shared memory.
//
// A prompt's keys are seen by all its completions. A block of keys with more queries than a part may have is therefore
// computed in parts by several blocks, whose sums `attention_backward_sum` adds up in order.
//
// QK: width of a head's query and key; V: of its value; both multiples of 8.

constexpr int WARPS = 4;
constexpr int THREADS = 32 * WARPS;
// Rows that a block owns, 16 for each warp, and rows of a tile of the others that it walks over.
constexpr int ROWS = 16 * WARPS;
constexpr int TILE = filled(QK) + filled(V) > 256 ? 32 : 64;

// The product of each head's result and its gradient: dots [heads, rows] of out and d_out [rows, heads, V]. A warp each.
KERNEL(attention_backward_dots, float* dots, const bf16* out, const bf16* d_out, int rows, int heads) {
    await_previous();
    const size_t pair = static_cast<size_t>(blockIdx.x) * warp_count() + warp_index();
    if (pair >= static_cast<size_t>(rows) * heads) return;
    float dot = 0.0f;
    for (int i = 8 * lane_index(); i < V; i += 8 * WARP) {
        float result[8], gradient[8];
        load_8(result, out + pair * V + i);
        load_8(gradient, d_out + pair * V + i);
        for (int j = 0; j < 8; ++j) dot += result[j] * gradient[j];
    }
    dot = warp_sum(dot);
    if (lane_index() == 0) dots[pair % heads * rows + pair / heads] = dot;
}

// p and ds from score and dp, in place.
DEVICE void weigh(float& score, float& d_score, float scale_log2, float total_log2, float dot) {
    score = fast_exp2(score * scale_log2 - total_log2);
    d_score = score * (d_score - dot);
}

// The gradients of a block of keys and values, or a part of them.
//
// d_key   [rows, heads / group, QK], d_value [rows, heads / group, V], as their strides say
// partial [slots, heads / group, ROWS, QK + V]: where the sums of parts go
// query, key, value: as in the forward pass; d_out [rows, heads, V]; totals, dots [heads, rows]
// blocks  [gridDim.x, 5]: first key row, end of key rows, the block's part of `runs`, and the slot of its sums, or -1
// runs    [.., 2]: query rows start .. end that see the keys, the keys' own segment first
KERNEL_BOUNDS(128, 2, attention_backward_keys, bf16* d_key, bf16* d_value, float* partial, const bf16* query,
              const bf16* key, const bf16* value, const bf16* d_out, const float* totals, const float* dots,
              const int* blocks, const int* runs, int rows, int heads, int group, int query_row, int query_head,
              int key_row, int key_head, int value_row, int value_head, int d_key_row, int d_key_head, int d_value_row,
              int d_value_head, float scale) {
    await_previous();
    DYNAMIC_SHARED(bf16, shared);
    bf16* keys = shared;                                                 // [ROWS, QK]; in the end their gradients
    bf16* values = keys + ROWS * tile_stride(QK);                        // [ROWS, V]; in the end their gradients
    bf16* queries = values + ROWS * tile_stride(V);                      // [2, TILE, QK]
    bf16* gradients = queries + 2 * TILE * tile_stride(QK);              // [2, TILE, V]
    float2* rest = reinterpret_cast<float2*>(gradients + 2 * TILE * tile_stride(V)); // [2, TILE]: total and dot

    const int* block = blocks + 5 * blockIdx.x;
    const int first = block[0], end = block[1], slot = block[4], shared_head = blockIdx.y;
    const int thread = threadIdx.x, lane = lane_index(), warp_row = 16 * warp_index();

    load_tile<QK, ROWS, THREADS>(keys, key + static_cast<size_t>(shared_head) * key_head, key_row, first, end);
    load_tile<V, ROWS, THREADS>(values, value + static_cast<size_t>(shared_head) * value_head, value_row, first, end);

    float d_keys[1][filled(QK) / 8][4], d_values[1][filled(V) / 8][4];
    clear(d_keys);
    clear(d_values);
    const float scale_log2 = scale * LOG2_E;

    // The queries of each head in turn. The tile after the one that is being computed is being fetched.
    int head = shared_head * group;
    const int heads_end = head + group;
    Walk walk = walk_through(runs, block[2], block[3], INT_LIMIT);
    auto fetch = [&](int stage) {
        load_tile<QK, TILE, THREADS>(queries + stage * TILE * tile_stride(QK),
                                     query + static_cast<size_t>(head) * query_head, query_row, walk.first, walk.end);
        load_tile<V, TILE, THREADS>(gradients + stage * TILE * tile_stride(V), d_out + static_cast<size_t>(head) * V,
                                    static_cast<size_t>(heads) * V, walk.first, walk.end);
        const int row = walk.first + thread;
        const size_t at = static_cast<size_t>(head) * rows + row;
        const bool valid = thread < TILE && row < walk.end;
        return valid ? make_float2(totals[at] * LOG2_E, dots[at]) : make_float2(0.0f, 0.0f);
    };
    float2 fetched = fetch(0);
    copy_commit();
    for (int stage = 0; head < heads_end; stage ^= 1) {
        const int tile_first = walk.first;
        if (thread < TILE) rest[stage * TILE + thread] = fetched;
        copy_wait<0>();
        __syncthreads(); // The tile is there, and nobody reads the one before any more.
        next_tile(walk, TILE);
        if (!rows_left(walk)) {
            ++head;
            walk = walk_through(runs, block[2], block[3], INT_LIMIT);
        }
        if (head < heads_end) fetched = fetch(stage ^ 1);
        copy_commit();

        const bf16* tile_queries = queries + stage * TILE * tile_stride(QK);
        const bf16* tile_gradients = gradients + stage * TILE * tile_stride(V);
        float weights[1][TILE / 8][4], d_scores[1][TILE / 8][4];
        clear(weights);
        // What does not see a key starts, and stays, at minus infinity. Queries past the tile's end are zeros, as are their
        // totals, and add nothing.
        if (tile_first < end) {
#pragma unroll
            for (int t = 0; t < TILE / 8; ++t)
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const int key_at = first + warp_row + i / 2 * 8 + lane / 4;
                    const int query_at = tile_first + 8 * t + lane % 4 * 2 + i % 2;
                    if (key_at > query_at) weights[0][t][i] = minus_infinity();
                }
        }
        multiply_rows<QK>(weights, keys, warp_row, tile_queries, 0); // Rows are keys, columns queries.
        clear(d_scores);
        multiply_rows<V>(d_scores, values, warp_row, tile_gradients, 0);
#pragma unroll
        for (int t = 0; t < TILE / 8; ++t)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float2 total_and_dot = rest[stage * TILE + 8 * t + lane % 4 * 2 + i % 2];
                weigh(weights[0][t][i], d_scores[0][t][i], scale_log2, total_and_dot.x, total_and_dot.y);
            }
        multiply_columns<V>(d_values, weights, tile_gradients);
        multiply_columns<QK>(d_keys, d_scores, tile_queries);
    }

    if (slot >= 0) {
        const size_t key_heads = heads / group;
        float* to = partial + (slot * key_heads + shared_head) * ROWS * (QK + V);
        store_partial<QK>(to, QK + V, warp_row, d_keys, scale);
        store_partial<V>(to + QK, QK + V, warp_row, d_values, 1.0f);
        return;
    }
    const float ones[1][2] = {{1.0f, 1.0f}}, scales[1][2] = {{scale, scale}};
    __syncthreads(); // Nobody reads keys and values any more.
    store_sums<QK>(keys, warp_row, d_keys, scales);
    store_sums<V>(values, warp_row, d_values, ones);
    __syncthreads();
    store_tile<QK, ROWS, THREADS>(d_key + static_cast<size_t>(shared_head) * d_key_head, d_key_row, first, end, keys);
    store_tile<V, ROWS, THREADS>(d_value + static_cast<size_t>(shared_head) * d_value_head, d_value_row, first, end, values);
}

// Adds up the parts of a block of keys: blocks [gridDim.x, 4]: first key row, end of key rows, first slot, end of slots.
KERNEL(attention_backward_sum, bf16* d_key, bf16* d_value, const float* partial, const int* blocks, int key_heads,
       int d_key_row, int d_key_head, int d_value_row, int d_value_head) {
    await_previous();
    const int* block = blocks + 4 * blockIdx.x;
    const int first = block[0], count = block[1] - first, head = blockIdx.y;
    for (int i = threadIdx.x; i < count * (QK + V); i += blockDim.x) {
        const int row = i / (QK + V), column = i % (QK + V);
        float sum = 0.0f;
        for (int slot = block[2]; slot < block[3]; ++slot)
            sum += partial[(static_cast<size_t>(slot) * key_heads + head) * ROWS * (QK + V) + i];
        const size_t at = first + row;
        if (column < QK) {
            d_key[at * d_key_row + static_cast<size_t>(head) * d_key_head + column] = to_bf16(sum);
        } else {
            d_value[at * d_value_row + static_cast<size_t>(head) * d_value_head + column - QK] = to_bf16(sum);
        }
    }
}

// The gradients of queries, d_query [rows, heads, QK] as its strides say. `blocks` and `runs` are those of the forward pass; its blocks are
// computed in pieces of ROWS rows, `pieces` to a block.
KERNEL_BOUNDS(128, 2, attention_backward_queries, bf16* d_query, const bf16* query, const bf16* key, const bf16* value,
              const bf16* d_out, const float* totals, const float* dots, const int* blocks, const int* runs, int pieces,
              int rows, int heads, int group, int query_row, int query_head, int key_row, int key_head, int value_row,
              int value_head, int d_query_row, int d_query_head, float scale) {
    await_previous();
    DYNAMIC_SHARED(bf16, shared);
    bf16* queries = shared;                                 // [ROWS, QK]; in the end their gradients
    bf16* gradients = queries + ROWS * tile_stride(QK);     // [ROWS, V]
    bf16* keys = gradients + ROWS * tile_stride(V);         // [2, TILE, QK]
    bf16* values = keys + 2 * TILE * tile_stride(QK);       // [2, TILE, V]

    const int* block = blocks + 4 * (blockIdx.x / pieces);
    const int first = block[0] + blockIdx.x % pieces * ROWS, end = min(block[1], first + ROWS), head = blockIdx.y;
    if (first >= end) return;
    key += static_cast<size_t>(head / group) * key_head;
    value += static_cast<size_t>(head / group) * value_head;
    const int lane = lane_index(), warp_row = 16 * warp_index();

    load_tile<QK, ROWS, THREADS>(queries, query + static_cast<size_t>(head) * query_head, query_row, first, end);
    load_tile<V, ROWS, THREADS>(gradients, d_out + static_cast<size_t>(head) * V, static_cast<size_t>(heads) * V, first,
                                end);
    Walk walk = walk_through(runs, block[2], block[3], end);
    auto fetch = [&](int stage) {
        load_tile<QK, TILE, THREADS>(keys + stage * TILE * tile_stride(QK), key, key_row, walk.first, walk.end);
        load_tile<V, TILE, THREADS>(values + stage * TILE * tile_stride(V), value, value_row, walk.first, walk.end);
    };
    fetch(0);
    copy_commit();

    float total_log2[2], dot[2];
    for (int half = 0; half < 2; ++half) {
        // A row past the end computes what nobody reads.
        const int row = min(first + warp_row + 8 * half + lane / 4, end - 1);
        total_log2[half] = totals[static_cast<size_t>(head) * rows + row] * LOG2_E;
        dot[half] = dots[static_cast<size_t>(head) * rows + row];
    }
    float d_queries[1][filled(QK) / 8][4];
    clear(d_queries);
    const float scale_log2 = scale * LOG2_E;

    for (int stage = 0; rows_left(walk); stage ^= 1) {
        const int tile_first = walk.first, tile_end = walk.end;
        copy_wait<0>();
        __syncthreads(); // The tile is there, and nobody reads the one before any more.
        next_tile(walk, TILE);
        if (rows_left(walk)) fetch(stage ^ 1);
        copy_commit();

        const bf16* tile_keys = keys + stage * TILE * tile_stride(QK);
        const bf16* tile_values = values + stage * TILE * tile_stride(V);
        float weights[1][TILE / 8][4], d_scores[1][TILE / 8][4];
        clear(weights);
        // What a query does not see starts, and stays, at minus infinity.
        if (tile_first + TILE > tile_end || tile_first + TILE - 1 > first) {
#pragma unroll
            for (int t = 0; t < TILE / 8; ++t)
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const int last = min(tile_end - 1, first + warp_row + i / 2 * 8 + lane / 4);
                    if (tile_first + 8 * t + lane % 4 * 2 + i % 2 > last) weights[0][t][i] = minus_infinity();
                }
        }
        multiply_rows<QK>(weights, queries, warp_row, tile_keys, 0);
        clear(d_scores);
        multiply_rows<V>(d_scores, gradients, warp_row, tile_values, 0);
#pragma unroll
        for (int t = 0; t < TILE / 8; ++t)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                weigh(weights[0][t][i], d_scores[0][t][i], scale_log2, total_log2[i / 2], dot[i / 2]);
        multiply_columns<QK>(d_queries, d_scores, tile_keys);
    }
    const float scales[1][2] = {{scale, scale}};
    __syncthreads(); // Nobody reads the queries any more.
    store_sums<QK>(queries, warp_row, d_queries, scales);
    __syncthreads();
    store_tile<QK, ROWS, THREADS>(d_query + static_cast<size_t>(head) * d_query_head, d_query_row, first, end, queries);
}
