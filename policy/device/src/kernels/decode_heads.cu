// What stands between the product that makes a token's queries, keys and values and attention over the cache, in one launch: their
// biases, the norms of each head's query and key, the turning of both to the token's position, and the cache. A head is a
// warp's work. Between two steps it lies in shared memory, rounded to bf16 as if each step were a launch of its own; rows.cu,
// norm.cu, rope.cu and paged_cache.cu say more about them. Widths are multiples of 8.

// query     [rows, heads, width]: the queries, turned
// keys      a cache [pages, PAGE_TOKENS, key heads, width] of turned keys, and one of values of the same shape
// x         [rows, heads + 2 key heads, width]: queries, keys and values as the product left them
// bias      [heads + 2 key heads, width] or null
// query_norm, key_norm [width] or null
// table     [positions, pairs, 2]: cos, sin; `interleaved`: whether neighbours are a pair
// positions [rows]: which angles; places [rows]: the token's place in its context, or a negative one if it is not to be cached
// pages     [rows, page_row]
// The grid is rows; all heads by the block's warps. Dynamic shared memory: [warps, width].
KERNEL(decode_heads, bf16* query, bf16* keys, bf16* values, const bf16* x, const float* bias, const float* query_norm,
       const float* key_norm, const float* table, const unsigned* positions, const int* places, const int* pages, int page_row,
       int heads, int key_heads, int width, int pairs, int interleaved, float eps) {
    await_previous();
    DYNAMIC_SHARED(bf16, shared);
    const size_t row = blockIdx.x;
    const int all = heads + 2 * key_heads, head = blockIdx.y * warp_count() + warp_index();
    if (head >= all) return; // A warp as a whole.
    const bool is_query = head < heads, is_value = head >= heads + key_heads;
    bf16* own = shared + warp_index() * width;
    x += (row * all + head) * width;
    for (int column = lane_index() * 8; column < width; column += WARP * 8) {
        float numbers[8];
        load_8(numbers, x + column);
        if (bias) {
            float added[8];
            load_8(added, bias + head * width + column);
            for (int i = 0; i < 8; i++) numbers[i] += added[i];
        }
        store_8(own + column, numbers);
    }

    const float* norm = is_query ? query_norm : key_norm;
    if (norm && !is_value) {
        // Each lane reads what it has written.
        float squares = 0;
        for (int column = lane_index() * 8; column < width; column += WARP * 8) {
            float numbers[8];
            load_8(numbers, own + column);
            for (int i = 0; i < 8; i++) squares += numbers[i] * numbers[i];
        }
        const float r = 1 / sqrtf(warp_sum(squares) / width + eps);
        for (int column = lane_index() * 8; column < width; column += WARP * 8) {
            float numbers[8], weights[8];
            load_8(numbers, own + column);
            load_8(weights, norm + column);
            for (int i = 0; i < 8; i++) numbers[i] *= r * weights[i];
            store_8(own + column, numbers);
        }
    }
    __syncwarp(); // A number's other half of the pair may be another lane's.

    bf16* to;
    if (is_query) {
        to = query + (row * heads + head) * width;
    } else {
        const int place = places[row];
        if (place < 0) return;
        const size_t token = (size_t)pages[row * page_row + place / PAGE_TOKENS] * PAGE_TOKENS + place % PAGE_TOKENS;
        const int shared_head = head - heads - (is_value ? key_heads : 0);
        to = (is_value ? values : keys) + (token * key_heads + shared_head) * width;
    }
    table += (size_t)positions[row] * pairs * 2;
    for (int column = lane_index() * 8; column < width; column += WARP * 8) {
        float numbers[8];
        load_8(numbers, own + column);
        for (int i = 0; i < 8; i++) {
            const int at = column + i;
            if (is_value || at >= 2 * pairs) break;
            const bool is_second = interleaved ? at % 2 == 1 : at >= pairs;
            const int distance = interleaved ? 1 : pairs, pair = interleaved ? at / 2 : at % pairs;
            const float other = to_float(own[is_second ? at - distance : at + distance]);
            const float cosine = table[2 * pair], sine = table[2 * pair + 1];
            numbers[i] = is_second ? numbers[i] * cosine + other * sine : numbers[i] * cosine - other * sine;
        }
        store_8(to + column, numbers);
    }
}
