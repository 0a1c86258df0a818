// What decoding does around a step: where each slot's new token goes, the tables of pages, and the experts that tokens went to.

// For each of `slots` sequences: the place of its new token in its context, and how many tokens attention reads. A slot that is
// not being drawn (state other than 0) writes nothing, place -1, and reads nothing.
KERNEL(place_tokens, int* places, int* lengths, const unsigned* position, const unsigned char* state, int slots) {
    await_previous();
    const int slot = blockIdx.x * blockDim.x + threadIdx.x;
    if (slot >= slots) return;
    const bool drawing = state[slot] == 0;
    places[slot] = drawing ? static_cast<int>(position[slot]) : -1;
    lengths[slot] = drawing ? static_cast<int>(position[slot]) + 1 : 0;
}

// pages[at] = page for each (at, page) of edits [count, 2]; no place occurs twice.
KERNEL(edit_pages, int* pages, const int* edits, int count) {
    await_previous();
    const int edit = blockIdx.x * blockDim.x + threadIdx.x;
    if (edit < count) pages[edits[2 * edit]] = edits[2 * edit + 1];
}

// Notes in the cache `noted` [pages * page_tokens, layers, top_k] where each row went in a layer: chosen [rows, top_k]. A row's
// place stands in its sequence's row of `pages` [.., page_row]; a negative position says that there is nothing to note.
KERNEL(note_choices, unsigned short* noted, const unsigned short* chosen, const int* pages, const int* sequences,
       const int* positions, int rows, int page_row, int page_tokens, int layer, int layers, int top_k) {
    await_previous();
    const size_t at = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    const size_t row = at / top_k;
    if (row >= static_cast<size_t>(rows) || positions[row] < 0) return;
    const int page = pages[static_cast<size_t>(sequences[row]) * page_row + positions[row] / page_tokens];
    const size_t token = static_cast<size_t>(page) * page_tokens + positions[row] % page_tokens;
    noted[(token * layers + layer) * top_k + at % top_k] = chosen[at];
}

// out [count, width]: what was noted of a sequence's tokens first .. first + count, whose pages are `pages`.
KERNEL(take_choices, unsigned short* out, const unsigned short* noted, const int* pages, int first, int count,
       int page_tokens, int width) {
    await_previous();
    const size_t at = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= static_cast<size_t>(count) * width) return;
    const int position = first + static_cast<int>(at / width);
    const size_t token = static_cast<size_t>(pages[position / page_tokens]) * page_tokens + position % page_tokens;
    out[at] = noted[token * width + at % width];
}
