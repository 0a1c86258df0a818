//! The WebAssembly engine: how programs are compiled and how many instances there can be.
//!
//! Work is counted as fuel, in the compiled code. The wall clock needs no counter of its own: a program gives way every
//! so much fuel, and whoever runs it looks at the clock then; functions of the host that charge for their work look too
//! ([`deadline`](crate::deadline)). (Epochs would do the same for 15 % more time.)

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result};

use crate::limits::LARGEST_MEMORY;

/// Stack that WebAssembly may use: deep recursion in the interpreter's C code meets Python's own limit first.
const WASM_STACK_BYTES: usize = 32 << 20;
/// What is left of a program's stack for the host's functions when WebAssembly has used all of its own.
const HOST_STACK_BYTES: usize = 1 << 20;

/// Memory images up to this size are mapped copy-on-write as one piece. The snapshot's is about 30 MiB.
const IMAGE_BYTES: u64 = 512 << 20;
/// Core instances of the component: the libraries, the adapter, and the linker's shims.
const CORE_INSTANCES: u32 = 40;
const TABLES: u32 = 8;
const MEMORIES: u32 = 4;
/// Room for one table of the interpreter's.
const POOLED_TABLE_ELEMENTS: usize = 32_768;

/// An engine with room for `instances` interpreters at once, whose memory is reused.
pub(crate) fn pooled(instances: u32) -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances * CORE_INSTANCES)
        .max_core_instances_per_component(CORE_INSTANCES)
        .total_memories(instances * MEMORIES)
        .max_memories_per_component(MEMORIES)
        .total_tables(instances * TABLES)
        .max_tables_per_component(TABLES)
        .table_elements(POOLED_TABLE_ELEMENTS)
        .total_stacks(instances)
        .max_memory_size(LARGEST_MEMORY)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        // Pages that a program wrote are set back in place instead of being given back and faulted in again; where the
        // kernel can say which they are (Linux 6.7), only those.
        .linear_memory_keep_resident(16 << 20)
        .table_keep_resident(1 << 20)
        .pagemap_scan(Enabled::Auto);
    let mut config = common();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_guaranteed_dense_image_size(IMAGE_BYTES);
    Engine::new(&config)
}

/// An engine for modules of any shape, each instance with memory of its own.
pub(crate) fn plain() -> Result<Engine> {
    Engine::new(&common())
}

fn common() -> Config {
    let mut config = Config::new();
    config
        .memory_init_cow(true)
        .consume_fuel(true)
        // The bits of a NaN are otherwise the machine's choice, and a program can see them.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(WASM_STACK_BYTES + HOST_STACK_BYTES)
        .native_unwind_info(false);
    config
}
