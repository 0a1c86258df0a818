// What kernels see of CUDA, for the emulator: the names that common.cuh and NVRTC define for a card. Stands between
// emulation.hpp and common.cuh.

#define KERNEL(name, ...)                                                                                             \
    static void name(__VA_ARGS__);                                                                                    \
    static const emulation::Registration registration_of_##name(#name, emulation::Invoker<&name>::invoke,            \
                                                                emulation::Invoker<&name>::count);                   \
    static void name(__VA_ARGS__)
#define KERNEL_BOUNDS(threads, min_blocks, name, ...) KERNEL(name, __VA_ARGS__)
#define SHARED(type, name, count)                                                                                     \
    static const char declaration_of_##name = 0;                                                                      \
    type(&name)[count] = *reinterpret_cast<type(*)[count]>(                                                           \
        emulation::static_shared(&declaration_of_##name, sizeof(type) * (count)))
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(emulation::dynamic_shared())

#define threadIdx (emulation::current->index)
#define blockIdx (emulation::current->block->index)
#define gridDim (emulation::current->block->grid)
#define blockDim (Dimensions{emulation::current->block->threads, 1, 1})
// The host's threads take turns, so what one has written all see.
#define __threadfence() ((void)0)
#define __syncthreads() emulation::barrier(__FILE__, __LINE__)

static inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
static inline float __int_as_float(int bits) { return __uint_as_float(static_cast<unsigned>(bits)); }
static inline int __float_as_int(float value) { return static_cast<int>(__float_as_uint(value)); }
static inline float rsqrtf(float value) { return 1.0f / std::sqrt(value); }
// The C library declares functions of these names, but has none.
#define __expf(value) ::expf(value)
#define __logf(value) ::logf(value)
static inline float __fdividef(float over, float under) { return over / under; }
static inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
static inline int __clz(int bits) { return bits == 0 ? 32 : __builtin_clz(static_cast<unsigned>(bits)); }
static inline int __ffs(int bits) { return __builtin_ffs(bits); }
template <typename T> static inline T __ldg(const T* pointer) { return *pointer; }
template <typename T> static inline T min(T a, T b) { return b < a ? b : a; }
template <typename T> static inline T max(T a, T b) { return a < b ? b : a; }
// One thread of the host runs at a time. For whole numbers only: floats are not added atomically.
template <typename T> static inline T atomicAdd(T* at, T value) {
    static_assert(std::is_integral<T>::value, "floats added atomically have no fixed order");
    const T before = *at;
    *at += value;
    return before;
}
template <typename T> static inline T atomicMax(T* at, T value) {
    const T before = *at;
    *at = before < value ? value : before;
    return before;
}

#define EMULATION_CALLER const char *file = __builtin_FILE(), int line = __builtin_LINE()

namespace emulation {
template <typename T> struct Shuffled {
    T value, result;
    int choice;
};
template <typename T>
static T shuffled(const char* operation, const char* file, int line, T value, int choice,
                  void (*carry_out)(Shuffled<T>* (&)[32])) {
    Shuffled<T> mine{value, value, choice};
    together(operation, file, line, mine, carry_out);
    return mine.result;
}
} // namespace emulation

template <typename T> static inline T shuffle_xor(T value, int mask, EMULATION_CALLER) {
    return emulation::shuffled<T>("shuffle_xor", file, line, value, mask, [](emulation::Shuffled<T>* (&lanes)[32]) {
        for (int lane = 0; lane < 32; ++lane) lanes[lane]->result = lanes[(lane ^ lanes[lane]->choice) & 31]->value;
    });
}
template <typename T> static inline T shuffle(T value, int from, EMULATION_CALLER) {
    return emulation::shuffled<T>("shuffle", file, line, value, from, [](emulation::Shuffled<T>* (&lanes)[32]) {
        for (int lane = 0; lane < 32; ++lane) lanes[lane]->result = lanes[lanes[lane]->choice & 31]->value;
    });
}
template <typename T> static inline T shuffle_up(T value, int distance, EMULATION_CALLER) {
    return emulation::shuffled<T>("shuffle_up", file, line, value, distance, [](emulation::Shuffled<T>* (&lanes)[32]) {
        for (int lane = 0; lane < 32; ++lane)
            if (lane >= lanes[lane]->choice) lanes[lane]->result = lanes[lane - lanes[lane]->choice]->value;
    });
}
template <typename T> static inline T shuffle_down(T value, int distance, EMULATION_CALLER) {
    return emulation::shuffled<T>("shuffle_down", file, line, value, distance, [](emulation::Shuffled<T>* (&lanes)[32]) {
        for (int lane = 0; lane < 32; ++lane)
            if (lane + lanes[lane]->choice < 32) lanes[lane]->result = lanes[lane + lanes[lane]->choice]->value;
    });
}
static inline unsigned warp_ballot(bool condition, EMULATION_CALLER) {
    using Lane = emulation::Shuffled<unsigned>;
    return emulation::shuffled<unsigned>("warp_ballot", file, line, condition, 0, [](Lane* (&lanes)[32]) {
        unsigned bits = 0;
        for (int lane = 0; lane < 32; ++lane) bits |= lanes[lane]->value << lane;
        for (int lane = 0; lane < 32; ++lane) lanes[lane]->result = bits;
    });
}
static inline void emulated_syncwarp(EMULATION_CALLER) {
    emulation::shuffled<int>("__syncwarp", file, line, 0, 0, [](emulation::Shuffled<int>* (&)[32]) {});
}
#define __syncwarp() emulated_syncwarp()

namespace emulation {
struct Product {
    float* d;
    const unsigned *a, *b;
};
static inline float half_of(unsigned pair, int which) {
    return __uint_as_float(which == 0 ? pair << 16 : pair & 0xffff0000u);
}
static inline void multiply(Product* (&lanes)[32]) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; ++lane) {
        const int group = lane / 4, pair = lane % 4 * 2;
        for (int half = 0; half < 2; ++half) {
            for (int part = 0; part < 4; ++part)
                a[group + part % 2 * 8][pair + half + part / 2 * 8] = half_of(lanes[lane]->a[part], half);
            for (int part = 0; part < 2; ++part) b[pair + half + part * 8][group] = half_of(lanes[lane]->b[part], half);
        }
    }
    for (int lane = 0; lane < 32; ++lane) {
        for (int part = 0; part < 4; ++part) {
            const int row = lane / 4 + part / 2 * 8, column = lane % 4 * 2 + part % 2;
            float sum = lanes[lane]->d[part];
            for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
            lanes[lane]->d[part] = sum;
        }
    }
}

struct MatrixLoad {
    unsigned* result;
    const void* row;
    int count;
    bool transposed;
};
static inline void load_matrices(MatrixLoad* (&lanes)[32]) {
    for (int matrix = 0; matrix < lanes[0]->count; ++matrix) {
        unsigned short values[8][8];
        for (int row = 0; row < 8; ++row) {
            const void* from = lanes[matrix * 8 + row]->row;
            if (reinterpret_cast<uintptr_t>(from) % 16 != 0 || !is_shared(from, 16))
                fail("loads a row of a matrix from %p, which is not in shared memory or not aligned (lane %d)", from,
                     matrix * 8 + row);
            std::memcpy(values[row], from, 16);
        }
        for (int lane = 0; lane < 32; ++lane) {
            const int major = lane / 4, minor = lane % 4 * 2;
            const bool transposed = lanes[lane]->transposed;
            const unsigned low = transposed ? values[minor][major] : values[major][minor];
            const unsigned high = transposed ? values[minor + 1][major] : values[major][minor + 1];
            lanes[lane]->result[matrix] = low | (high << 16);
        }
    }
}
static inline void load_matrix(const char* operation, const char* file, int line, unsigned* result, const void* row,
                               int count, bool transposed) {
    MatrixLoad mine{result, row, count, transposed};
    together(operation, file, line, mine, load_matrices);
}
} // namespace emulation

static inline void mma_bf16_16x8x16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], EMULATION_CALLER) {
    emulation::Product mine{d, a, b};
    emulation::together("mma_bf16_16x8x16", file, line, mine, emulation::multiply);
}
static inline void load_matrix_x4(unsigned (&r)[4], const void* shared, EMULATION_CALLER) {
    emulation::load_matrix("load_matrix_x4", file, line, r, shared, 4, false);
}
static inline void load_matrix_x4_transposed(unsigned (&r)[4], const void* shared, EMULATION_CALLER) {
    emulation::load_matrix("load_matrix_x4_transposed", file, line, r, shared, 4, true);
}
static inline void load_matrix_x2(unsigned (&r)[2], const void* shared, EMULATION_CALLER) {
    emulation::load_matrix("load_matrix_x2", file, line, r, shared, 2, false);
}
static inline void load_matrix_x2_transposed(unsigned (&r)[2], const void* shared, EMULATION_CALLER) {
    emulation::load_matrix("load_matrix_x2_transposed", file, line, r, shared, 2, true);
}

static inline unsigned count_in_order(unsigned* count) { return atomicAdd(count, 1u); }
static inline float4 load_past_l1(const float4* from) { return *from; }

static inline void copy_async_16(void* shared, const void* global, bool valid) {
    const bool aligned = reinterpret_cast<uintptr_t>(shared) % 16 == 0 &&
                         (!valid || reinterpret_cast<uintptr_t>(global) % 16 == 0);
    if (!aligned || !emulation::is_shared(shared, 16))
        emulation::fail("copies from %p to %p, which are not aligned, or the latter not in shared memory", global, shared);
    std::memset(shared, 0xFF, 16); // Nothing that could be used is there before the copy has been waited for.
    emulation::current->copies.push_back({shared, global, valid, emulation::current->group});
}
static inline void copy_commit() { ++emulation::current->group; }
template <int N> static inline void copy_wait() {
    std::vector<emulation::Copy>& copies = emulation::current->copies;
    size_t kept = 0;
    for (size_t at = 0; at < copies.size(); ++at) {
        const emulation::Copy copy = copies[at];
        if (copy.group >= emulation::current->group - N) {
            copies[kept++] = copy;
        } else if (copy.valid) {
            std::memcpy(copy.to, copy.from, 16);
        } else {
            std::memset(copy.to, 0, 16);
        }
    }
    copies.resize(kept);
}
