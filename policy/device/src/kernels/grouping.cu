// Sorts (token, slot) pairs by expert without the host: a counting sort that keeps the order of tokens inside an expert.
//
// A block takes a chunk of pairs, cut into slices; a thread is one expert's counter in one slice and reads the whole slice.
// So nothing is added atomically, and a pair's place is a function of the choices alone.

constexpr int GROUPING_THREADS = 1024;
constexpr int CHUNK = 4096;
constexpr int MAX_SLICES = 32;

// What a thread counts: its slice's pairs [begin, end) of the chunk, and its expert.
struct Counter {
    int slice, expert, begin, end;
};

DEVICE int slices_of(int experts) {
    int slices = GROUPING_THREADS / experts;
    return slices < MAX_SLICES ? slices : MAX_SLICES;
}

// Threads without a slice get an empty one. `size`: pairs of the chunk.
DEVICE Counter counter_of(int experts, int size) {
    int slices = slices_of(experts);
    int length = (size + slices - 1) / slices;
    int slice = threadIdx.x / experts;
    int begin = slice * length, end = begin + length;
    if (end > size) end = size;
    if (slice >= slices || begin > end) begin = end;
    return Counter{slice, (int)(threadIdx.x % experts), begin, end};
}

DEVICE int chunk_size(long long first, long long pairs) { return pairs - first < CHUNK ? (int)(pairs - first) : CHUNK; }

DEVICE void load_chunk(unsigned short* chunk, const unsigned short* chosen, int size) {
    for (int i = threadIdx.x; i < size; i += GROUPING_THREADS) chunk[i] = chosen[i];
    __syncthreads();
}

// counts[slice, expert] becomes how many of the expert's pairs the slices before hold; returns the chunk's, for the
// threads that are below `experts`.
DEVICE unsigned count_chunk(unsigned* counts, const unsigned short* chunk, Counter own, int experts) {
    unsigned count = 0;
    for (int i = own.begin; i < own.end; i++) count += chunk[i] == own.expert;
    if (own.slice < slices_of(experts)) counts[threadIdx.x] = count;
    __syncthreads();
    unsigned total = 0;
    if ((int)threadIdx.x < experts) {
        for (int slice = 0; slice < slices_of(experts); slice++) {
            unsigned here = counts[slice * experts + threadIdx.x];
            counts[slice * experts + threadIdx.x] = total;
            total += here;
        }
    }
    __syncthreads();
    return total;
}

// The sum of `value` over the threads before this one and this one; `sums` has room for every thread.
DEVICE unsigned sum_up_to(unsigned* sums, unsigned value) {
    for (int distance = 1; distance < (int)blockDim.x; distance <<= 1) {
        sums[threadIdx.x] = value;
        __syncthreads();
        if ((int)threadIdx.x >= distance) value += sums[threadIdx.x - distance];
        __syncthreads();
    }
    return value;
}

DEVICE void place_chunk(unsigned* token, unsigned* place, const unsigned* counts, const unsigned* starts,
                        const unsigned short* chunk, Counter own, long long first, int experts, int top_k) {
    if (own.slice >= slices_of(experts)) return;
    unsigned next = starts[own.expert] + counts[threadIdx.x];
    for (int i = own.begin; i < own.end; i++) {
        if (chunk[i] == own.expert) {
            token[next] = (unsigned)((first + i) / top_k);
            place[first + i] = next++;
        }
    }
}

// chunk_counts [experts, chunks]: how often a chunk of `chosen` [pairs] names an expert. One block a chunk.
KERNEL_BOUNDS(GROUPING_THREADS, 1, grouping_count, unsigned* chunk_counts, const unsigned short* chosen, size_t pairs,
              int experts) {
    await_previous();
    SHARED(unsigned short, chunk, CHUNK);
    SHARED(unsigned, counts, GROUPING_THREADS);
    long long first = (long long)blockIdx.x * CHUNK;
    int size = chunk_size(first, pairs);
    load_chunk(chunk, chosen + first, size);
    unsigned total = count_chunk(counts, chunk, counter_of(experts, size), experts);
    if ((int)threadIdx.x < experts) chunk_counts[(size_t)threadIdx.x * gridDim.x + blockIdx.x] = total;
}

// Makes an expert's counts the sum of the chunks before, and writes its total. One block an expert.
KERNEL_BOUNDS(GROUPING_THREADS, 1, grouping_scan, unsigned* chunk_counts, unsigned* totals, int chunks) {
    await_previous();
    SHARED(unsigned, sums, GROUPING_THREADS);
    SHARED(unsigned, carried, 1);
    unsigned* own = chunk_counts + (size_t)blockIdx.x * chunks;
    unsigned before = 0;
    for (int first = 0; first < chunks; first += GROUPING_THREADS) {
        int i = first + threadIdx.x;
        unsigned count = i < chunks ? own[i] : 0;
        unsigned through = sum_up_to(sums, count);
        if (i < chunks) own[i] = before + through - count;
        if (threadIdx.x == GROUPING_THREADS - 1) carried[0] = through;
        __syncthreads();
        before += carried[0];
        __syncthreads();
    }
    if (threadIdx.x == 0) totals[blockIdx.x] = before;
}

// offsets [experts + 1], token [pairs] in expert order, place [pairs] in token order. One block a chunk.
//
// Where there is only one chunk, the counts are made here and `chunk_counts` and `totals` are not read. `load` [experts],
// if not null, is added to.
KERNEL_BOUNDS(GROUPING_THREADS, 1, grouping_place, unsigned* offsets, unsigned* token, unsigned* place, unsigned* load,
              const unsigned* chunk_counts, const unsigned* totals, const unsigned short* chosen, size_t pairs,
              int experts, int top_k) {
    await_previous();
    SHARED(unsigned short, chunk, CHUNK);
    SHARED(unsigned, counts, GROUPING_THREADS);
    SHARED(unsigned, starts, GROUPING_THREADS);
    long long first = (long long)blockIdx.x * CHUNK;
    int expert = threadIdx.x;
    bool counts_expert = expert < experts;
    int size = chunk_size(first, pairs);
    load_chunk(chunk, chosen + first, size);
    Counter own = counter_of(experts, size);
    unsigned total = count_chunk(counts, chunk, own, experts);
    unsigned before = 0;
    if (gridDim.x > 1 && counts_expert) {
        total = totals[expert];
        before = chunk_counts[(size_t)expert * gridDim.x + blockIdx.x];
    }
    unsigned through = sum_up_to(starts, counts_expert ? total : 0);
    if (counts_expert) {
        starts[expert] = through - total + before;
        if (blockIdx.x == 0) {
            offsets[expert] = through - total;
            if (expert == experts - 1) offsets[experts] = through;
            if (load) load[expert] += total;
        }
    }
    __syncthreads();
    place_chunk(token, place, counts, starts, chunk, own, first, experts, top_k);
}
