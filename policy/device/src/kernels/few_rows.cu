// Products of a few rows, as a step of decoding has them, with a weight: x [rows, depth], at most TILE_ROWS rows.
//
// - rows_by_transposed: out = x W^T, W [columns, depth], in bf16
// - sums_by_transposed: out = x W^T or out += x W^T, in f32
// - sums_by:            out = x W or out += x W, W [depth, columns], in f32
// - activated_rows:     out = silu(gate) up, where [gate, up] = x W^T, W [2 columns, depth]
// - parts_by_transposed, parts_by: parts [splits, rows, columns], each of a part of the depth, for the next kernel to add up
//
// Reading the weight is all that takes time, so all blocks read for as long as each other: the steps of depth of all tiles,
// one tile after the other, are cut into as many runs of one length as there are blocks, wherever a cut falls. A block whose
// run has only a part of a tile's depth leaves its sums in `partial`; the one that comes last adds up all parts of the
// tile, in the order of depth. So a result depends on the number of blocks, and on nothing else: not on the other rows, nor
// on who comes last. See gemm_tiles.cuh.

// TILE_ROWS, TILE_COLUMNS and RING, the stages in shared memory, are defined where this is compiled.
constexpr int WARPS_IN_ROWS = TILE_ROWS == 64 ? 2 : 1;
using RowsTile = Tile<TILE_ROWS, TILE_COLUMNS, TILE_ROWS / WARPS_IN_ROWS, TILE_COLUMNS * WARPS_IN_ROWS / 4, RING>;

// How the steps of all tiles are shared: `steps` for each tile, `units` in all.
struct Shares {
    int steps, units;
};

// The first unit of a block's run.
DEVICE int first_unit(Shares shares, int block) {
    return static_cast<int>(static_cast<long long>(shares.units) * block / gridDim.x);
}

// The block that has a unit in its run.
DEVICE int owner_of(Shares shares, int unit) {
    return static_cast<int>(((unit + 1ll) * gridDim.x - 1) / shares.units);
}

// Leaves this block's part of a tile's sums. In the block that comes last, `sums` are then those of the whole tile, and the
// result is true. All of a block's threads call this together.
template <typename T>
DEVICE bool add_up_parts(Sums<T>& sums, float* partial, unsigned* done, Shares shares, int tile) {
    constexpr int PARTS = T::ROW_PARTS * T::COLUMN_PARTS;
    SHARED(int, last, 1);
    const int from = owner_of(shares, tile * shares.steps), to = owner_of(shares, (tile + 1) * shares.steps - 1);
    // A block leaves at most two parts: of the tile that its run begins in, and of the one that it ends in. Of this tile only
    // the first block can have begun in another.
    const bool is_second = first_unit(shares, from) < tile * shares.steps;
    auto part_of = [&](int block) {
        const int place = 2 * block + (block == from && is_second ? 1 : 0);
        return reinterpret_cast<float4*>(partial) + static_cast<size_t>(place) * PARTS * GEMM_THREADS + threadIdx.x;
    };
    float4* own = part_of(blockIdx.x);
#pragma unroll
    for (int part = 0; part < PARTS; ++part) {
        const float* four = sums.of[part / T::COLUMN_PARTS][part % T::COLUMN_PARTS];
        own[part * GEMM_THREADS] = make_float4(four[0], four[1], four[2], four[3]);
    }
    // What all threads have written before the barrier, the count publishes; and who counts last sees what others have.
    __syncthreads();
    if (threadIdx.x == 0) {
        // No other tile that is cut begins in the run of this one's first block.
        last[0] = count_in_order(done + from) == static_cast<unsigned>(to - from);
        if (last[0]) done[from] = 0; // For the next launch.
    }
    __syncthreads();
    if (!last[0]) return false;
    clear(sums);
#pragma unroll 2
    for (int block = from; block <= to; ++block) {
        const float4* other = part_of(block);
#pragma unroll
        for (int part = 0; part < PARTS; ++part) {
            const float4 four = load_past_l1(other + part * GEMM_THREADS);
            float* own_four = sums.of[part / T::COLUMN_PARTS][part % T::COLUMN_PARTS];
            own_four[0] += four.x, own_four[1] += four.y, own_four[2] += four.z, own_four[3] += four.w;
        }
    }
    return true;
}

// A step of a run: which tile's, and which of its depth.
struct Step {
    int tile, at;
};

DEVICE Step next_of(Step step, int steps) {
    return step.at + 1 < steps ? Step{step.tile, step.at + 1} : Step{step.tile + 1, 0};
}

// Calls `copy(stage's memory, step)` for the steps that are loaded before the first one is multiplied, of `count` from `step`
// on. Returns the step after them.
template <typename T, typename Copy>
DEVICE Step load_ahead(bf16* shared, Step step, int count, int steps, Copy copy) {
#pragma unroll 1
    for (int stage = 0; stage < T::STAGES - 1; ++stage) {
        if (stage < count) copy(shared + stage * T::STAGE_NUMBERS, step);
        copy_commit();
        step = next_of(step, steps);
    }
    return step;
}

// Multiplies `count` steps of depth from `begin` on, and calls `finish(sums, step, steps before it)` at the last one and at the
// last of each tile.
//
// Each thread copies, in each step, 16 bytes of every PASS-th row of a tile. PASS is a multiple of 8, so that all of them lie
// at the same chunk (see `swizzled`), and addresses differ by constants.
template <typename T, Weights KIND, typename Finish>
DEVICE void multiply_steps(const bf16* x, const bf16* weight, int rows, int columns, int depth, Step begin, int count,
                           Finish finish) {
    constexpr bool DEEP = KIND == Weights::COLUMNS;
    constexpr int WIDTH = tile_columns<T, KIND>(), ROW = DEEP ? T::COLUMNS : DEPTH;
    constexpr int PASS = GEMM_THREADS * CHUNK_NUMBERS / ROW, X_PASS = GEMM_THREADS * CHUNK_NUMBERS / DEPTH;
    constexpr int COPIES = T::COLUMNS * DEPTH / CHUNK_NUMBERS / GEMM_THREADS, X_COPIES = T::ROWS / X_PASS;
    static_assert(PASS % 8 == 0 && X_PASS == 16, "gate and up take turns by eight rows");
    DYNAMIC_SHARED(bf16, shared);
    const int steps = (depth + DEPTH - 1) / DEPTH;

    // This thread's first row and column of a tile of weights, and how many rows of the matrix its next one is further on. Of
    // gate and up, rows of a tile and of the matrix differ.
    const int row = threadIdx.x / (ROW / CHUNK_NUMBERS), column = threadIdx.x % (ROW / CHUNK_NUMBERS) * CHUNK_NUMBERS;
    const int result = KIND == Weights::GATE_AND_UP ? row % 8 : row;
    constexpr int FURTHER = KIND == Weights::GATE_AND_UP ? 8 : PASS;
    const size_t line = DEEP ? columns : depth;
    const bf16* weight_row = weight + (KIND == Weights::GATE_AND_UP && row >= 8 ? columns * line : 0);
    const int place = T::ROWS * DEPTH + swizzled<ROW>(row, column);
    auto copy_weights = [&](bf16* stage, Step step) {
        const int first_row = result + (DEEP ? step.at * DEPTH : step.tile * WIDTH);
        const int first_column = column + (DEEP ? step.tile * WIDTH : step.at * DEPTH);
        const int left = first_column < (DEEP ? columns : depth) ? (DEEP ? depth : columns) - first_row : 0;
        const bf16* from = weight_row + first_row * line + first_column;
#pragma unroll
        for (int i = 0; i < COPIES; ++i) {
            copy_async_16(stage + place + i * PASS * ROW, from + i * FURTHER * line, i * FURTHER < left);
        }
    };
    const int x_row = threadIdx.x / (DEPTH / CHUNK_NUMBERS);
    const int x_column = threadIdx.x % (DEPTH / CHUNK_NUMBERS) * CHUNK_NUMBERS;
    const int x_place = swizzled<DEPTH>(x_row, x_column);
    const bf16* x_from = x + static_cast<size_t>(x_row) * depth + x_column;
    auto copy_rows = [&](bf16* stage, Step step) {
        const int at = step.at * DEPTH, left = at + x_column < depth ? rows - x_row : 0;
#pragma unroll
        for (int i = 0; i < X_COPIES; ++i) {
            const bf16* from = x_from + at + static_cast<size_t>(i * X_PASS) * depth;
            copy_async_16(stage + x_place + i * X_PASS * DEPTH, from, i * X_PASS < left);
        }
    };

    Sums<T> sums;
    clear(sums);
    // No kernel of a recorded step writes weights: their first steps are on the way when the kernel before this one ends.
    load_ahead<T>(shared, begin, count, steps, copy_weights);
    await_previous();
    Step loaded = load_ahead<T>(shared, begin, count, steps, copy_rows), step = begin;
    int full = 0, empty = T::STAGES - 1;
#pragma unroll 1
    for (int done_steps = 0; done_steps < count; ++done_steps) {
        copy_wait<T::STAGES - 2>();
        // This step's tiles are there for all threads, and all are done with the stage that is filled next.
        __syncthreads();
        if (done_steps + T::STAGES - 1 < count) {
            copy_weights(shared + empty * T::STAGE_NUMBERS, loaded);
            copy_rows(shared + empty * T::STAGE_NUMBERS, loaded);
            loaded = next_of(loaded, steps);
        }
        copy_commit();
        const bf16* stage = shared + full * T::STAGE_NUMBERS;
        multiply_stage<T, false, DEEP>(sums, stage, stage + T::ROWS * DEPTH);
        empty = full;
        full = full + 1 < T::STAGES ? full + 1 : 0;
        if (step.at + 1 == steps || done_steps + 1 == count) {
            finish(sums, step, done_steps);
            clear(sums);
        }
        step = next_of(step, steps);
    }
}

// The body of kernels whose blocks all read for as long: `store(sums, first column)` for each tile, by one block.
template <typename T, Weights KIND, typename Store>
DEVICE void multiply_few(float* partial, unsigned* done, const bf16* x, const bf16* weight, int rows, int columns, int depth,
                         Store store) {
    constexpr int WIDTH = tile_columns<T, KIND>();
    const int steps = (depth + DEPTH - 1) / DEPTH;
    const Shares shares{steps, (columns + WIDTH - 1) / WIDTH * steps};
    const int first = first_unit(shares, blockIdx.x), count = first_unit(shares, blockIdx.x + 1) - first;
    auto finish = [&](Sums<T>& sums, Step step, int before) {
        const bool whole = step.at + 1 == steps && step.at <= before;
        if (whole || add_up_parts(sums, partial, done, shares, step.tile)) store(sums, step.tile * WIDTH);
    };
    multiply_steps<T, KIND>(x, weight, rows, columns, depth, Step{first / steps, first % steps}, count, finish);
}

// Sets rows of `out` [rows, columns] from a tile's sums, or adds to them. Columns come in eights, so a pair's second is there
// too, and both lie in one aligned word.
DEVICE void store_sums(float* out, int add, const Sums<RowsTile>& sums, int first_column, int rows, int columns) {
    each_pair<RowsTile>([&](int row, int tile_column, int row_part, int part, int i) {
        const int column = first_column + tile_column;
        if (row >= rows || column >= columns) return;
        const float* pair = &sums.of[row_part][part][i];
        float2* at = reinterpret_cast<float2*>(out + static_cast<size_t>(row) * columns + column);
        const float2 old = add ? *at : make_float2(0.0f, 0.0f);
        *at = make_float2(old.x + pair[0], old.y + pair[1]);
    });
}

// The body of kernels whose blocks each have one part of a tile's depth: parts [splits, rows, columns]. The grid: splits * tiles.
template <typename T, Weights KIND>
DEVICE void multiply_parts(float* parts, const bf16* x, const bf16* weight, int rows, int columns, int depth, int splits) {
    const int steps = (depth + DEPTH - 1) / DEPTH, split = blockIdx.x % splits;
    const int first = steps * split / splits, end = steps * (split + 1) / splits;
    float* part = parts + static_cast<size_t>(split) * rows * columns;
    auto finish = [&](Sums<T>& sums, Step step, int) { store_sums(part, 0, sums, step.tile * T::COLUMNS, rows, columns); };
    const Step begin{static_cast<int>(blockIdx.x) / splits, first};
    multiply_steps<T, KIND>(x, weight, rows, columns, depth, begin, end - first, finish);
}

// Of the kernels that follow: partial [2 blocks, TILE_ROWS, TILE_COLUMNS], done [blocks], which is 0 before and after. The grid: at most as
// many blocks as there are steps of all tiles.
KERNEL_BOUNDS(GEMM_THREADS, 2, rows_by_transposed, bf16* out, float* partial, unsigned* done, const bf16* x,
              const bf16* weight, int rows, int columns, int depth) {
    auto store = [&](const Sums<RowsTile>& sums, int first_column) {
        each_pair<RowsTile>([&](int row, int tile_column, int row_part, int part, int i) {
            const int column = first_column + tile_column;
            if (row >= rows || column >= columns) return;
            const float* pair = &sums.of[row_part][part][i];
            store_pair(out + static_cast<size_t>(row) * columns + column, pair[0], pair[1]);
        });
    };
    multiply_few<RowsTile, Weights::ROWS>(partial, done, x, weight, rows, columns, depth, store);
}

KERNEL_BOUNDS(GEMM_THREADS, 2, sums_by_transposed, float* out, float* partial, unsigned* done, const bf16* x,
              const bf16* weight, int rows, int columns, int depth, int add) {
    auto store = [&](const Sums<RowsTile>& sums, int first_column) {
        store_sums(out, add, sums, first_column, rows, columns);
    };
    multiply_few<RowsTile, Weights::ROWS>(partial, done, x, weight, rows, columns, depth, store);
}

KERNEL_BOUNDS(GEMM_THREADS, 2, sums_by, float* out, float* partial, unsigned* done, const bf16* x, const bf16* weight,
              int rows, int columns, int depth, int add) {
    auto store = [&](const Sums<RowsTile>& sums, int first_column) {
        store_sums(out, add, sums, first_column, rows, columns);
    };
    multiply_few<RowsTile, Weights::COLUMNS>(partial, done, x, weight, rows, columns, depth, store);
}

KERNEL_BOUNDS(GEMM_THREADS, 2, activated_rows, bf16* out, float* partial, unsigned* done, const bf16* x,
              const bf16* weight, int rows, int columns, int depth) {
    auto store = [&](const Sums<RowsTile>& sums, int first_column) {
        each_pair<RowsTile>([&](int row, int tile_column, int row_part, int part, int i) {
            const int column = first_column + activation_of(tile_column);
            if (is_up(tile_column) || row >= rows || column >= columns) return;
            const float* gate = &sums.of[row_part][part][i];
            const float* up = &sums.of[row_part][(part + 1) % RowsTile::COLUMN_PARTS][i];
            store_activated(out + static_cast<size_t>(row) * columns + column, pack_bf16(gate[0], gate[1]),
                            pack_bf16(up[0], up[1]));
        });
    };
    multiply_few<RowsTile, Weights::GATE_AND_UP>(partial, done, x, weight, rows, columns, depth, store);
}

KERNEL_BOUNDS(GEMM_THREADS, 2, parts_by_transposed, float* parts, const bf16* x, const bf16* weight, int rows, int columns,
              int depth, int splits) {
    multiply_parts<RowsTile, Weights::ROWS>(parts, x, weight, rows, columns, depth, splits);
}

KERNEL_BOUNDS(GEMM_THREADS, 2, parts_by, float* parts, const bf16* x, const bf16* weight, int rows, int columns, int depth,
              int splits) {
    multiply_parts<RowsTile, Weights::COLUMNS>(parts, x, weight, rows, columns, depth, splits);
}
