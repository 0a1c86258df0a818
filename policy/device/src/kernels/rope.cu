// Rotary position embedding in place: pair i of each head's rope part is turned by the angle of (position, i).
// (Su et al., "RoFormer", 2021.) Neighbours (2i, 2i+1) are a pair, or i and i + pairs. Turning back, with direction -1,
// is the transpose: what the gradient needs.

DEVICE float get(const float* from) { return *from; }
DEVICE float get(const bf16* from) { return to_float(*from); }
DEVICE void put(float* to, float value) { *to = value; }
DEVICE void put(bf16* to, float value) { *to = to_bf16(value); }

// Turns the pair (a, b).
DEVICE void turn(float& a, float& b, float cosine, float sine) {
    const float before = a;
    a = before * cosine - b * sine;
    b = b * cosine + before * sine;
}

// rows [n], `stride` apart: heads side by side, `head_width` numbers each, of which 2 `pairs` turn, from `offset` on.
// table [positions, pairs, 2]: cos, sin. A block per row; each thread turns a pair at a time, in one head.
template <bool NEIGHBOURS, class T>
DEVICE void turn_pairs(T* rows, const float* table, const unsigned* positions, int stride, int heads, int head_width,
                       int offset, int pairs, float direction) {
    rows += (size_t)blockIdx.x * stride + offset;
    table += (size_t)positions[blockIdx.x] * pairs * 2;
    for (int task = threadIdx.x; task < heads * pairs; task += blockDim.x) {
        const int pair = task % pairs;
        T* part = rows + task / pairs * head_width;
        T *first = part + (NEIGHBOURS ? 2 * pair : pair), *second = first + (NEIGHBOURS ? 1 : pairs);
        float a = get(first), b = get(second);
        turn(a, b, table[2 * pair], table[2 * pair + 1] * direction);
        put(first, a);
        put(second, b);
    }
}

// The same, eight numbers at a time, where all is aligned to them: four pairs of neighbours, or eight pairs of halves.
template <bool NEIGHBOURS, class T>
DEVICE void turn_eights(T* rows, const float* table, const unsigned* positions, int stride, int heads, int head_width,
                        int offset, int pairs, float direction) {
    constexpr int TAKEN = NEIGHBOURS ? 4 : 8;
    rows += (size_t)blockIdx.x * stride + offset;
    table += (size_t)positions[blockIdx.x] * pairs * 2;
    const int steps = pairs / TAKEN;
    for (int task = threadIdx.x; task < heads * steps; task += blockDim.x) {
        const int pair = task % steps * TAKEN;
        T* part = rows + task / steps * head_width;
        float angles[8], first[8];
        load_8(angles, table + 2 * pair);
        if constexpr (NEIGHBOURS) {
            load_8(first, part + 2 * pair);
            for (int i = 0; i < 4; i++) {
                turn(first[2 * i], first[2 * i + 1], angles[2 * i], angles[2 * i + 1] * direction);
            }
            store_8(part + 2 * pair, first);
        } else {
            float second[8], further[8];
            load_8(further, table + 2 * pair + 8);
            load_8(first, part + pair);
            load_8(second, part + pairs + pair);
            for (int i = 0; i < 4; i++) {
                turn(first[i], second[i], angles[2 * i], angles[2 * i + 1] * direction);
                turn(first[i + 4], second[i + 4], further[2 * i], further[2 * i + 1] * direction);
            }
            store_8(part + pair, first);
            store_8(part + pairs + pair, second);
        }
    }
}

#define ROPE(name, function, NEIGHBOURS, T)                                                                           \
    KERNEL(name, T* rows, const float* table, const unsigned* positions, int stride, int heads, int head_width,       \
           int offset, int pairs, float direction) {                                                                  \
        await_previous();                                                                                             \
        function<NEIGHBOURS>(rows, table, positions, stride, heads, head_width, offset, pairs, direction);            \
    }
ROPE(rope_neighbours_bf16, turn_pairs, true, bf16)
ROPE(rope_neighbours_bf16_eights, turn_eights, true, bf16)
ROPE(rope_halves_bf16, turn_pairs, false, bf16)
ROPE(rope_halves_bf16_eights, turn_eights, false, bf16)
ROPE(rope_neighbours_f32, turn_pairs, true, float)
ROPE(rope_neighbours_f32_eights, turn_eights, true, float)
ROPE(rope_halves_f32, turn_pairs, false, float)
ROPE(rope_halves_f32_eights, turn_eights, false, float)
