// The cache of decoding: pages of PAGE_TOKENS tokens, each a row of numbers. A sequence's row of `pages` says which pages
// hold its tokens, in order. Eight numbers at a time: widths and strides are multiples of 8.

// Writes each row's two parts, keys and values or a latent and its rotary key, to the place of its token.
//
// first, second     caches [pages, PAGE_TOKENS, ..] of rows first_row and second_row numbers apart
// first_x, second_x [rows, first_width], [rows, second_width] as their strides say
// sequences         [rows]: each row's row of `pages` [.., page_row]
// positions         [rows]: its token's place in the sequence; a negative one says that there is nothing to write
KERNEL(cache_append, bf16* first, bf16* second, const bf16* first_x, const bf16* second_x, const int* pages,
       const int* sequences, const int* positions, int rows, int page_row, int first_width, int first_row,
       int first_x_row, int second_width, int second_row, int second_x_row) {
    await_previous();
    const int chunks = (first_width + second_width) / 8;
    const size_t at = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    const size_t row = at / chunks;
    const int column = at % chunks * 8;
    if (row >= rows || positions[row] < 0) return;
    const int page = pages[static_cast<size_t>(sequences[row]) * page_row + positions[row] / PAGE_TOKENS];
    const size_t token = static_cast<size_t>(page) * PAGE_TOKENS + positions[row] % PAGE_TOKENS;
    const bool is_first = column < first_width;
    const int second_column = column - first_width;
    const bf16* from = is_first ? first_x + row * first_x_row + column : second_x + row * second_x_row + second_column;
    bf16* to = is_first ? first + token * first_row + column : second + token * second_row + second_column;
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
}

// Copies whole pages: pairs [gridDim.x, 2] of a page and the one that it is copied to; no page is both. `cache` has
// `page_width` numbers to a page.
KERNEL(cache_copy_pages, bf16* cache, const int* pairs, int page_width) {
    await_previous();
    const bf16* from = cache + static_cast<size_t>(pairs[2 * blockIdx.x]) * page_width;
    bf16* to = cache + static_cast<size_t>(pairs[2 * blockIdx.x + 1]) * page_width;
    for (int at = 8 * threadIdx.x; at < page_width; at += 8 * blockDim.x)
        *reinterpret_cast<uint4*>(to + at) = *reinterpret_cast<const uint4*>(from + at);
}
