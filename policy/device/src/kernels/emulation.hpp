// Runs kernels on the host, for tests where there is no card. Stands in front of common.cuh.
//
// Blocks run one after the other. A block's threads are fibers, each with a stack of its own; one runs until it waits at a
// barrier or in an operation of its warp, which is carried out once all lanes have come. Threads in no fixed order stand
// for threads at once: the launch chooses among several orders, so that a missing barrier shows in one of them. What a
// card leaves undefined is an error here: lanes that part before an operation of the warp, threads that part before a
// barrier, a matrix row outside of shared memory. Shared memory starts out as 0xFF, which is no number, and what is copied
// without waiting arrives only when it is waited for.

#define EMULATION 1

#include <cmath>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <type_traits>
#include <vector>

#if !(defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__)))
#include <ucontext.h>
#define EMULATION_UCONTEXT 1
#endif

#define DEVICE static inline

struct Dimensions {
    unsigned x, y, z;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) int2 {
    int x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static inline int2 make_int2(int x, int y) { return {x, y}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace emulation {

// ---- Fibers ----

#ifdef EMULATION_UCONTEXT
using Context = ucontext_t;
static inline void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }
static inline void prepare_context(Context& context, char* stack, size_t size, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = size;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
}
#else
using Context = void*;
// Keeps what the calling convention asks a function to keep on the stack, and goes on with another stack.
extern "C" __attribute__((visibility("hidden"))) void emulation_switch(Context* from, Context to);
#ifdef __x86_64__
asm(R"(
    .text
    .globl emulation_switch
    .hidden emulation_switch
    .type emulation_switch, @function
emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulation_switch, . - emulation_switch
)");
constexpr int SAVED_WORDS = 7, ENTRY_WORD = 6;
#else
asm(R"(
    .text
    .globl emulation_switch
    .hidden emulation_switch
    .type emulation_switch, %function
emulation_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .size emulation_switch, . - emulation_switch
)");
constexpr int SAVED_WORDS = 20, ENTRY_WORD = 11;
#endif
static inline void switch_context(Context& from, Context& to) { emulation_switch(&from, to); }
// As if `entry` had been called and had not begun: the stack pointer is where the convention wants it.
static inline void prepare_context(Context& context, char* stack, size_t size, void (*entry)()) {
    void** top = reinterpret_cast<void**>(stack + size - 64);
#ifdef __x86_64__
    void** saved = top - SAVED_WORDS - 1;
#else
    void** saved = top - SAVED_WORDS;
#endif
    std::memset(saved, 0, SAVED_WORDS * sizeof(void*));
    saved[ENTRY_WORD] = reinterpret_cast<void*>(entry);
    context = saved;
}
#endif

// ---- A block and its threads ----

enum class State { Ready, AtBarrier, InWarp, Done };

struct Place {
    const char* operation;
    const char* file;
    int line;
};

struct Copy {
    void* to;
    const void* from;
    bool valid;
    int group;
};

struct Block;

struct Fiber {
    Context context;
    State state;
    Place place;
    Dimensions index;
    Block* block;
    int group; // The group of copies that is being gathered.
    std::vector<Copy> copies;
};

struct Warp {
    int arrived;
    Place place;
    void* operands[32];
};

struct SharedArray {
    const void* declaration;
    char* memory;
};

constexpr size_t PAGE = 65536; // A multiple of the page size of each system.
constexpr size_t STACK_BYTES = 4 * PAGE;
constexpr size_t STATIC_LIMIT = 48 * 1024, DYNAMIC_LIMIT = 227 * 1024;
constexpr unsigned MAX_THREADS = 1024;
constexpr size_t RED_ZONE = 64;

// One for each thread of the host, kept for its next launch: tests run at once.
struct Block {
    Dimensions index, grid;
    unsigned threads;
    void (*invoke)(void**);
    void** arguments;
    Context scheduler;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    unsigned alive, at_barrier;
    Place barrier;
    char* stacks = nullptr;
    unsigned stack_count = 0;
    // Static arrays lie in `shared`, each followed by a red zone; dynamic shared memory ends at a page that cannot be read.
    char* shared = nullptr;
    size_t shared_used;
    std::vector<SharedArray> arrays;
    char* dynamic = nullptr;
    size_t dynamic_bytes;
    bool failed, faulted, trapped;
    void* fault;
    char error[2048];
};

static thread_local __attribute__((tls_model("initial-exec"))) Fiber* current = nullptr;

// Gives the block up. Never returns: its threads are not run again.
[[noreturn]] static void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
[[noreturn]] static void fail(const char* format, ...) {
    Block& block = *current->block;
    std::va_list values;
    va_start(values, format);
    const int used = std::snprintf(block.error, sizeof block.error, "block (%u, %u, %u), thread %u: ", block.index.x,
                                   block.index.y, block.index.z, current->index.x);
    std::vsnprintf(block.error + used, sizeof block.error - used, format, values);
    va_end(values);
    block.failed = true;
    Context abandoned;
    switch_context(abandoned, block.scheduler);
    std::abort();
}

static inline void wait_for_others(State state) {
    current->state = state;
    switch_context(current->context, current->block->scheduler);
}

static inline void release_barrier(Block& block) {
    for (Fiber& fiber : block.fibers)
        if (fiber.state == State::AtBarrier) fiber.state = State::Ready;
    block.at_barrier = 0;
}

static void barrier(const char* file, int line) {
    Block& block = *current->block;
    current->place = {"__syncthreads", file, line};
    if (block.at_barrier == 0) {
        block.barrier = current->place;
    } else if (block.barrier.line != line || block.barrier.file != file) {
        fail("waits at the barrier of %s:%d, others of its block at that of %s:%d", file, line, block.barrier.file,
             block.barrier.line);
    }
    if (++block.at_barrier == block.alive) {
        release_barrier(block);
        return;
    }
    wait_for_others(State::AtBarrier);
}

// All lanes come with an operand each; the last one carries the operation out for all.
template <typename Operand>
static void together(const char* operation, const char* file, int line, Operand& mine, void (*carry_out)(Operand* (&)[32])) {
    Block& block = *current->block;
    const unsigned first = current->index.x / 32 * 32;
    Warp& warp = block.warps[current->index.x / 32];
    current->place = {operation, file, line};
    if (warp.arrived == 0) {
        warp.place = current->place;
    } else if (std::strcmp(warp.place.operation, operation) != 0 || warp.place.line != line) {
        fail("is in %s (%s:%d), other lanes of its warp in %s (%s:%d)", operation, file, line, warp.place.operation,
             warp.place.file, warp.place.line);
    }
    warp.operands[current->index.x % 32] = &mine;
    if (++warp.arrived < 32) {
        wait_for_others(State::InWarp);
        return;
    }
    Operand* operands[32];
    for (int lane = 0; lane < 32; ++lane) operands[lane] = static_cast<Operand*>(warp.operands[lane]);
    carry_out(operands);
    warp.arrived = 0;
    for (unsigned lane = 0; lane < 32; ++lane)
        if (block.fibers[first + lane].state == State::InWarp) block.fibers[first + lane].state = State::Ready;
}

static void run_thread() {
    Block& block = *current->block;
    block.invoke(block.arguments);
    current->state = State::Done;
    // Threads that have returned are not waited for at a barrier.
    if (--block.alive > 0 && block.at_barrier == block.alive) release_barrier(block);
    Context finished;
    switch_context(finished, block.scheduler);
    std::abort();
}

static char* map(size_t bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    return static_cast<char*>(memory);
}

static void prepare(Block& block) {
    if (block.shared == nullptr) {
        block.shared = map(STATIC_LIMIT + 64 * RED_ZONE + PAGE);
        block.dynamic = map(4 * PAGE + PAGE);
        mprotect(block.dynamic + 4 * PAGE, PAGE, PROT_NONE);
    }
    if (block.stack_count < block.threads) {
        if (block.stacks != nullptr) munmap(block.stacks, block.stack_count * (STACK_BYTES + PAGE));
        block.stack_count = block.threads;
        block.stacks = map(block.stack_count * (STACK_BYTES + PAGE));
        for (unsigned stack = 0; stack < block.stack_count; ++stack)
            mprotect(block.stacks + stack * (STACK_BYTES + PAGE), PAGE, PROT_NONE);
    }
    block.fibers.resize(block.threads);
    block.warps.assign(block.threads / 32, Warp{});
}

static char* dynamic_shared() {
    Block& block = *current->block;
    return block.dynamic + 4 * PAGE - (block.dynamic_bytes + 15) / 16 * 16;
}

static char* static_shared(const void* declaration, size_t bytes) {
    Block& block = *current->block;
    for (const SharedArray& array : block.arrays)
        if (array.declaration == declaration) return array.memory;
    char* memory = block.shared + block.shared_used;
    const size_t padded = (bytes + 15) / 16 * 16 + RED_ZONE;
    if (block.shared_used + padded > STATIC_LIMIT + block.arrays.size() * RED_ZONE + RED_ZONE)
        fail("declares more than %zu bytes of static shared memory", STATIC_LIMIT);
    std::memset(memory, 0xFF, bytes);
    std::memset(memory + bytes, 0xFB, padded - bytes);
    block.shared_used += padded;
    block.arrays.push_back({declaration, memory});
    return memory;
}

static bool is_shared(const void* pointer, size_t bytes) {
    const Block& block = *current->block;
    const char* at = static_cast<const char*>(pointer);
    const char* dynamic_end = block.dynamic + 4 * PAGE;
    return (at >= block.shared && at + bytes <= block.shared + block.shared_used) ||
           (at >= dynamic_shared() && at + bytes <= dynamic_end);
}

// Which thread comes n-th.
static unsigned in_order(unsigned order, unsigned n, unsigned threads) {
    switch (order % 4) {
    case 0: return n;
    case 1: return threads - 1 - n;
    case 2: return (n / 32 * 32) + 31 - n % 32;                    // The warps in order, their lanes from the last.
    default: return (threads / 32 - 1 - n / 32) * 32 + n % 32; // The warps from the last, their lanes in order.
    }
}

static void describe_deadlock(Block& block) {
    int used = std::snprintf(block.error, sizeof block.error, "block (%u, %u, %u): no thread can go on:", block.index.x,
                             block.index.y, block.index.z);
    // Runs of threads that wait at the same place.
    for (unsigned first = 0; first < block.threads && used < static_cast<int>(sizeof block.error) - 256;) {
        const Fiber& fiber = block.fibers[first];
        unsigned end = first + 1;
        while (end < block.threads && block.fibers[end].state == fiber.state &&
               (fiber.state == State::Done || block.fibers[end].place.line == fiber.place.line))
            ++end;
        used += std::snprintf(block.error + used, sizeof block.error - used, "%s threads %u to %u ", first == 0 ? "" : ";",
                              first, end - 1);
        used += fiber.state == State::Done
                    ? std::snprintf(block.error + used, sizeof block.error - used, "have returned")
                    : std::snprintf(block.error + used, sizeof block.error - used, "wait in %s (%s:%d)",
                                    fiber.place.operation, fiber.place.file, fiber.place.line);
        first = end;
    }
    block.failed = true;
}

// Where the kernel was is known only by the last operation together with others.
static void describe_fault(Block& block, const Fiber& fiber) {
    const char* base = block.dynamic + 4 * PAGE;
    const char* at = static_cast<const char*>(block.fault);
    const char* stack = block.stacks + fiber.index.x * (STACK_BYTES + PAGE);
    const char* what = block.trapped                      ? "has an index outside of its array, an address that is not aligned, "
                                                           "a shift by too many bits, or a division by zero"
                       : at >= base && at < base + PAGE   ? "goes past the end of dynamic shared memory"
                       : at >= stack && at < stack + PAGE ? "goes past its stack: its local arrays are too large"
                                                          : "reads or writes memory that is not its own";
    const int used = std::snprintf(block.error, sizeof block.error, "block (%u, %u, %u), thread %u: %s", block.index.x,
                                   block.index.y, block.index.z, fiber.index.x, what);
    if (fiber.place.line != 0)
        std::snprintf(block.error + used, sizeof block.error - used, " (after %s, %s:%d)", fiber.place.operation,
                      fiber.place.file, fiber.place.line);
}

// Finds what was written past the end of a static shared array.
static void check_red_zones(Block& block) {
    for (size_t array = 0; array < block.arrays.size(); ++array) {
        const bool last = array + 1 == block.arrays.size();
        const char* end = last ? block.shared + block.shared_used : block.arrays[array + 1].memory;
        for (const char* at = end - RED_ZONE; at < end && !block.failed; ++at) {
            if (static_cast<unsigned char>(*at) == 0xFB) continue;
            std::snprintf(block.error, sizeof block.error,
                          "block (%u, %u, %u): wrote past the end of a shared array (the block's number %zu)", block.index.x,
                          block.index.y, block.index.z, array + 1);
            block.failed = true;
        }
    }
}

static void run_block(Block& block, unsigned order) {
    block.alive = block.threads;
    block.at_barrier = 0;
    block.shared_used = 0;
    block.arrays.clear();
    for (Warp& warp : block.warps) warp.arrived = 0;
    for (unsigned thread = 0; thread < block.threads; ++thread) {
        Fiber& fiber = block.fibers[thread];
        fiber.state = State::Ready;
        fiber.place = {"", "", 0};
        fiber.index = {thread, 0, 0};
        fiber.block = &block;
        fiber.group = 0;
        fiber.copies.clear();
        prepare_context(fiber.context, block.stacks + thread * (STACK_BYTES + PAGE) + PAGE, STACK_BYTES, run_thread);
    }
    if (block.dynamic_bytes > 0) {
        const size_t padded = (block.dynamic_bytes + 15) / 16 * 16;
        std::memset(block.dynamic + 4 * PAGE - padded, 0xFF, block.dynamic_bytes);
        std::memset(block.dynamic + 4 * PAGE - padded + block.dynamic_bytes, 0xFB, padded - block.dynamic_bytes);
    }
    while (block.alive > 0) {
        bool progress = false;
        for (unsigned n = 0; n < block.threads; ++n) {
            Fiber& fiber = block.fibers[in_order(order, n, block.threads)];
            if (fiber.state != State::Ready) continue;
            progress = true;
            current = &fiber;
            switch_context(block.scheduler, fiber.context);
            current = nullptr;
            if (block.faulted) describe_fault(block, fiber);
            if (block.failed) return;
        }
        if (!progress) return describe_deadlock(block);
    }
    check_red_zones(block);
}

// ---- Kernels by name ----

struct Entry {
    const char* name;
    void (*invoke)(void**);
    unsigned parameters;
};

static std::vector<Entry>& entries() {
    static std::vector<Entry> all;
    return all;
}

template <auto Function> struct Invoker;
template <typename... Parameters, void (*Function)(Parameters...)> struct Invoker<Function> {
    static constexpr unsigned count = sizeof...(Parameters);
    template <size_t... Index> static void call(void** arguments, std::integer_sequence<size_t, Index...>) {
        (void)arguments;
        Function(*static_cast<std::remove_cv_t<Parameters>*>(arguments[Index])...);
    }
    static void invoke(void** arguments) { call(arguments, std::make_integer_sequence<size_t, sizeof...(Parameters)>()); }
};

struct Registration {
    Registration(const char* name, void (*invoke)(void**), unsigned parameters) {
        entries().push_back({name, invoke, parameters});
    }
};

static const Entry* find(const char* name) {
    for (const Entry& entry : entries())
        if (std::strcmp(entry.name, name) == 0) return &entry;
    return nullptr;
}

} // namespace emulation

// How many parameters a kernel has; -1 if there is none of that name.
extern "C" int emulation_parameters(const char* name) {
    const emulation::Entry* entry = emulation::find(name);
    return entry == nullptr ? -1 : static_cast<int>(entry->parameters);
}

// Runs a kernel. Returns 0, or 1 and an error's text.
extern "C" int emulation_launch(const char* name, const unsigned* grid, unsigned threads, unsigned shared_bytes,
                                unsigned order, void** arguments, char* error, size_t error_bytes) {
    using namespace emulation;
    // Few bytes of a library's can be thread-local in the quick way, in which `current` is: hence a pointer.
    static thread_local Block* this_thread = nullptr;
    if (this_thread == nullptr) this_thread = new Block;
    Block& block = *this_thread;
    const Entry* entry = find(name);
    if (entry == nullptr || threads == 0 || threads > MAX_THREADS || threads % 32 != 0 || shared_bytes > DYNAMIC_LIMIT) {
        std::snprintf(error, error_bytes, "there is no such kernel, or %u threads or %u bytes of shared memory cannot be",
                      threads, shared_bytes);
        return 1;
    }
    block.threads = threads;
    block.grid = {grid[0], grid[1], grid[2]};
    block.invoke = entry->invoke;
    block.arguments = arguments;
    block.dynamic_bytes = shared_bytes;
    block.failed = block.faulted = false;
    prepare(block);
    const size_t count = static_cast<size_t>(grid[0]) * grid[1] * grid[2];
    for (size_t n = 0; n < count; ++n) {
        // No block may rely on another's having run.
        const size_t at = order / 4 % 2 == 0 ? n : count - 1 - n;
        block.index = {static_cast<unsigned>(at % grid[0]), static_cast<unsigned>(at / grid[0] % grid[1]),
                       static_cast<unsigned>(at / grid[0] / grid[1])};
        run_block(block, order + static_cast<unsigned>(at));
        if (block.failed) {
            std::snprintf(error, error_bytes, "%s", block.error);
            return 1;
        }
    }
    return 0;
}

// Called by the handler of signals where a thread read or wrote what it must not: gives the block up. Returns only if no
// kernel runs. The handler's own stack is small, so the text is made later.
extern "C" void emulation_fault(void* address, int signal_number) {
    if (emulation::current == nullptr) return;
    emulation::Block& block = *emulation::current->block;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, signal_number);
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
    block.failed = block.faulted = true;
    block.fault = address;
    block.trapped = signal_number == SIGILL || signal_number == SIGTRAP;
    emulation::Context abandoned;
    emulation::switch_context(abandoned, block.scheduler);
}

// ---- What kernels see ----

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
static inline unsigned ballot(bool condition, EMULATION_CALLER) {
    return emulation::shuffled<unsigned>("ballot", file, line, condition, 0, [](emulation::Shuffled<unsigned>* (&lanes)[32]) {
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
