// What every kernel may use: kernels and shared memory, bf16, sums over a warp and a block, and a warp's matrix instructions.
//
// The loader puts this file in front of each kernel file, so none includes anything. For a card it is compiled by NVRTC,
// which knows CUDA's own functions without a header. For the emulator emulated.hpp stands in front of it and defines the
// same names. Floats are never added atomically: a result must be the same, to the bit, each time.

#ifndef EMULATION

// A kernel, launched by name.
#define KERNEL(name, ...) extern "C" __global__ void name(__VA_ARGS__)
// A kernel of at most `threads` threads, of which `min_blocks` blocks shall fit on a multiprocessor.
#define KERNEL_BOUNDS(threads, min_blocks, name, ...)                                                                 \
    extern "C" __global__ void __launch_bounds__(threads, min_blocks) name(__VA_ARGS__)
// An array that a block's threads share, 16-byte aligned. `count` is a constant.
#define SHARED(type, name, count) __shared__ __align__(16) type name[count]
// The shared memory whose size the launch gives, 16-byte aligned.
#define DYNAMIC_SHARED(type, name)                                                                                    \
    extern __shared__ __align__(16) unsigned char dynamic_shared_bytes[];                                             \
    type* name = reinterpret_cast<type*>(dynamic_shared_bytes)
#define DEVICE __device__ __forceinline__

#endif

// Every kernel calls this in all threads before it touches what another may have written, or may still read. A recorded step
// starts a kernel as soon as all blocks of the one before have come here (programmatic dependent launch), so that it is ready
// when that one ends, and here it waits for its end. Elsewhere kernels follow one another anyway, and this does nothing.
DEVICE void await_previous() {
#if !defined(EMULATION) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

constexpr int WARP = 32;

// The thread's place in its warp, and the warp's in its block.
DEVICE int lane_index() { return threadIdx.x % WARP; }
DEVICE int warp_index() { return threadIdx.x / WARP; }
DEVICE int warp_count() { return blockDim.x / WARP; }

// ---- Numbers ----

// The upper half of a float.
struct bf16 {
    unsigned short bits;
};

DEVICE float to_float(bf16 value) { return __uint_as_float(static_cast<unsigned>(value.bits) << 16); }

// Rounds to the nearest, ties to even. What is not a number stays so.
DEVICE bf16 to_bf16(float value) {
#ifndef EMULATION
    bf16 result;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
    return result;
#else
    const unsigned bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return bf16{static_cast<unsigned short>((bits >> 16) | 0x40u)};
    return bf16{static_cast<unsigned short>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
#endif
}

// Two numbers in one register, as the matrix instructions take them: the first in the lower half.
DEVICE unsigned pack_bf16(float low, float high) {
#ifndef EMULATION
    unsigned result;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
    return result;
#else
    return to_bf16(low).bits | (static_cast<unsigned>(to_bf16(high).bits) << 16);
#endif
}
DEVICE unsigned pack_bf16(bf16 low, bf16 high) { return low.bits | (static_cast<unsigned>(high.bits) << 16); }
DEVICE float low_float(unsigned pair) { return __uint_as_float(pair << 16); }
DEVICE float high_float(unsigned pair) { return __uint_as_float(pair & 0xffff0000u); }

// Reads and writes eight neighbours, 16-byte aligned, at once.
DEVICE void load_8(float (&values)[8], const bf16* from) {
    const uint4 raw = *reinterpret_cast<const uint4*>(from);
    values[0] = low_float(raw.x), values[1] = high_float(raw.x), values[2] = low_float(raw.y), values[3] = high_float(raw.y);
    values[4] = low_float(raw.z), values[5] = high_float(raw.z), values[6] = low_float(raw.w), values[7] = high_float(raw.w);
}
DEVICE void load_8(float (&values)[8], const float* from) {
    const float4 first = reinterpret_cast<const float4*>(from)[0], second = reinterpret_cast<const float4*>(from)[1];
    values[0] = first.x, values[1] = first.y, values[2] = first.z, values[3] = first.w;
    values[4] = second.x, values[5] = second.y, values[6] = second.z, values[7] = second.w;
}
DEVICE void store_8(bf16* to, const float (&values)[8]) {
    uint4 raw;
    raw.x = pack_bf16(values[0], values[1]), raw.y = pack_bf16(values[2], values[3]);
    raw.z = pack_bf16(values[4], values[5]), raw.w = pack_bf16(values[6], values[7]);
    *reinterpret_cast<uint4*>(to) = raw;
}
DEVICE void store_8(float* to, const float (&values)[8]) {
    reinterpret_cast<float4*>(to)[0] = make_float4(values[0], values[1], values[2], values[3]);
    reinterpret_cast<float4*>(to)[1] = make_float4(values[4], values[5], values[6], values[7]);
}

// ---- A warp. All of its threads must call these together. ----

#ifndef EMULATION

template <typename T> DEVICE T shuffle_xor(T value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
// The value of lane `lane`.
template <typename T> DEVICE T shuffle(T value, int lane) { return __shfl_sync(0xffffffffu, value, lane); }
// The value of the lane `distance` below or above; its own where there is none.
template <typename T> DEVICE T shuffle_up(T value, int distance) { return __shfl_up_sync(0xffffffffu, value, distance); }
template <typename T> DEVICE T shuffle_down(T value, int distance) { return __shfl_down_sync(0xffffffffu, value, distance); }
// Bit i is set where lane i's condition holds.
DEVICE unsigned warp_ballot(bool condition) { return __ballot_sync(0xffffffffu, condition); }

// d += a b for a [16, 16], b [16, 8], d [16, 8]. With group = lane / 4 and pair = 2 (lane % 4), each lane holds
// d: (group, pair + {0, 1}), (group + 8, pair + {0, 1});
// a: (group, pair + {0, 1}), (group + 8, same), (group, pair + 8 + {0, 1}), (group + 8, same);
// b: (pair + {0, 1}, group), (pair + 8 + {0, 1}, group).
DEVICE void mma_bf16_16x8x16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

DEVICE unsigned shared_address(const void* pointer) { return static_cast<unsigned>(__cvta_generic_to_shared(pointer)); }

// Loads four 8x8 matrices of 2-byte numbers. Lanes 8 i to 8 i + 7 give the addresses of the rows of matrix i, in shared
// memory and 16-byte aligned; lane l then holds of each matrix the numbers (l / 4, 2 (l % 4) + {0, 1}).
DEVICE void load_matrix_x4(unsigned (&r)[4], const void* shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(shared))
                 : "memory");
}
// The same, but lane l holds the numbers (2 (l % 4) + {0, 1}, l / 4).
DEVICE void load_matrix_x4_transposed(unsigned (&r)[4], const void* shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(shared))
                 : "memory");
}
// Two matrices, whose rows' addresses lanes 0 to 15 give.
DEVICE void load_matrix_x2(unsigned (&r)[2], const void* shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(shared))
                 : "memory");
}
DEVICE void load_matrix_x2_transposed(unsigned (&r)[2], const void* shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(shared))
                 : "memory");
}

// Starts to copy 16 bytes to shared memory, both sides 16-byte aligned; zeros if not `valid`, and then nothing is read.
DEVICE void copy_async_16(void* shared, const void* global, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(shared)), "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0)
                 : "memory");
}
// Ends a group of copies.
DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until all of this thread's groups but the last N are there. Other threads see them after a barrier.
template <int N> DEVICE void copy_wait() { asm volatile("cp.async.wait_group %0;" : : "n"(N) : "memory"); }

// Adds 1 to a count and returns what it was. What the block's threads wrote before the barrier before this, who counts later
// sees; and what others wrote before they counted, this block's threads see after their next barrier.
DEVICE unsigned count_in_order(unsigned* count) {
    unsigned before;
    asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], 1;"
                 : "=r"(before)
                 : "l"(__cvta_generic_to_global(count))
                 : "memory");
    return before;
}
// Reads what another block has written, which the multiprocessor's own cache may not know.
DEVICE float4 load_past_l1(const float4* from) { return __ldcg(from); }

#endif

// Over the warp, in a fixed order; all lanes get the result.
template <typename T> DEVICE T warp_sum(T value) {
    for (int mask = WARP / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
    return value;
}
template <typename T> DEVICE T warp_max(T value) {
    for (int mask = WARP / 2; mask > 0; mask /= 2) {
        const T other = shuffle_xor(value, mask);
        value = other > value ? other : value;
    }
    return value;
}

// ---- A block. All of its threads must call these together; they contain barriers. ----

// Over the block, in a fixed order; all threads get the result.
template <typename T> DEVICE T block_sum(T value) {
    SHARED(T, partial, 32);
    value = warp_sum(value);
    __syncthreads(); // An earlier call's partial sums may still be read.
    if (lane_index() == 0) partial[warp_index()] = value;
    __syncthreads();
    T total = partial[0];
    for (int warp = 1; warp < warp_count(); ++warp) total += partial[warp];
    return total;
}
template <typename T> DEVICE T block_max(T value) {
    SHARED(T, partial, 32);
    value = warp_max(value);
    __syncthreads();
    if (lane_index() == 0) partial[warp_index()] = value;
    __syncthreads();
    T largest = partial[0];
    for (int warp = 1; warp < warp_count(); ++warp) largest = partial[warp] > largest ? partial[warp] : largest;
    return largest;
}
