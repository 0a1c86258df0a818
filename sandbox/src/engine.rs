//! The WebAssembly engine: how programs are compiled, how many instances there can be, what stops them.

use std::thread;
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result};

use crate::limits::LARGEST_MEMORY;

/// Stack that WebAssembly may use: deep recursion in the interpreter's C code meets Python's own limit first.
pub(crate) const WASM_STACK_BYTES: usize = 16 << 20;
/// How exactly wall-clock limits are kept.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Memory images up to this size are mapped copy-on-write as one piece. The snapshot's is about 60 MiB.
const IMAGE_BYTES: u64 = 512 << 20;
/// Core instances of the component: the libraries, the adapter, and the linker's shims.
const CORE_INSTANCES: u32 = 40;
const TABLES: u32 = 8;
const MEMORIES: u32 = 4;
const TABLE_ELEMENTS: usize = 32_768;

/// An engine with room for `instances` programs at once.
pub(crate) fn engine(instances: u32) -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances * CORE_INSTANCES)
        .max_core_instances_per_component(CORE_INSTANCES)
        .total_memories(instances * MEMORIES)
        .max_memories_per_component(MEMORIES)
        .total_tables(instances * TABLES)
        .max_tables_per_component(TABLES)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(LARGEST_MEMORY)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        // Pages that a program wrote are set back in place instead of being given back and faulted in again.
        .linear_memory_keep_resident(16 << 20)
        .pagemap_scan(Enabled::Auto)
        .table_keep_resident(1 << 20);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_init_cow(true)
        .memory_guaranteed_dense_image_size(IMAGE_BYTES)
        .consume_fuel(true)
        .epoch_interruption(true)
        // The bits of a NaN are otherwise the machine's choice, and a program can see them.
        .cranelift_nan_canonicalization(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(WASM_STACK_BYTES + (1 << 20))
        .native_unwind_info(false);
    Engine::new(&config)
}

/// Starts the clock behind wall-clock limits. It stops when the engine is gone.
pub(crate) fn start_ticking(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    thread::Builder::new().name("sandbox-clock".into()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    })?;
    Ok(())
}

/// The number of ticks after which `wall` has passed.
pub(crate) fn ticks(wall: Duration) -> u64 {
    // One more, because the tick under way has begun already.
    u64::try_from(wall.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX / 2).min(u64::MAX / 2) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_never_cut_short_by_rounding() {
        for (wall, expected) in [
            (Duration::from_nanos(1), 2),
            (Duration::from_millis(10), 2),
            (Duration::from_millis(11), 3),
            (Duration::from_secs(1), 101),
            (Duration::MAX, u64::MAX / 2 + 1),
        ] {
            assert_eq!(ticks(wall), expected, "{wall:?}");
        }
    }
}
