// Runs kernels on the host, for tests where there is no card. Stands in front of all else.
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

// A block that runs. Launches on several threads of the host have one each; it is kept for later launches.
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

// Runs a kernel. Returns 0, or 1 and an error's text. The memory for a block's threads is made where `kept` is null, and
// left there for the next launch, of this file or another.
extern "C" int emulation_launch(const char* name, const unsigned* grid, unsigned threads, unsigned shared_bytes,
                                unsigned order, void** arguments, emulation::Block** kept, char* error,
                                size_t error_bytes) {
    using namespace emulation;
    if (*kept == nullptr) *kept = new Block;
    Block& block = **kept;
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
