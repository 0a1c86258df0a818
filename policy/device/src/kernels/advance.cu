// Takes the drawn tokens up into their sequences, so that the next step of decoding can begin without the host.

constexpr int ADVANCE_THREADS = 256;
constexpr unsigned char DRAWING = 0, ENDED = 1, FULL = 2;

// For each of `slots` sequences that is being drawn: the token and its log-probability go to the sequence's outputs
// [slots, capacity] and the token becomes the next input; length (tokens drawn) and position (tokens before the next input's)
// grow by one. A token among `ends` [end_count] ends the sequence, its limit [slots] fills it. Other sequences stay as they
// are. running [1]: how many go on. One block.
KERNEL_BOUNDS(ADVANCE_THREADS, 1, advance, unsigned* tokens, float* logprobs, unsigned* next, unsigned* length,
              unsigned* position, unsigned char* state, unsigned* running, const unsigned* drawn, const float* drawn_logprobs,
              const unsigned* limit, const unsigned* ends, int end_count, int slots, int capacity) {
    await_previous();
    unsigned going_on = 0;
    for (int slot = threadIdx.x; slot < slots; slot += ADVANCE_THREADS) {
        if (state[slot] != DRAWING) continue;
        unsigned token = drawn[slot], at = length[slot];
        if (at < static_cast<unsigned>(capacity)) {
            tokens[static_cast<size_t>(slot) * capacity + at] = token;
            logprobs[static_cast<size_t>(slot) * capacity + at] = drawn_logprobs[slot];
        }
        next[slot] = token;
        length[slot] = at + 1;
        position[slot] += 1;
        bool ended = false;
        for (int i = 0; i < end_count; i++) ended |= ends[i] == token;
        if (ended) {
            state[slot] = ENDED;
        } else if (at + 1 >= limit[slot] || at + 1 >= static_cast<unsigned>(capacity)) {
            state[slot] = FULL;
        } else {
            going_on++;
        }
    }
    going_on = block_sum(going_on);
    if (threadIdx.x == 0) running[0] = going_on;
}
