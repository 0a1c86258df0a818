// Products of a few rows, as a step of decoding has them, with a weight: x [rows, depth], at most TILE_ROWS rows.
//
// - rows_by_transposed: out = x W^T, W [columns, depth], in bf16
// - sums_by_transposed: out = x W^T or out += x W^T, in f32
// - sums_by:            out = x W or out += x W, W [depth, columns], in f32
// - activated_rows:     out = silu(gate) up, where [gate, up] = x W^T, W [2 columns, depth]
//
// Reading the weight is all that takes time, so all blocks read for as long as each other: the steps of depth of all tiles,
// one tile after the other, are cut into as many runs of one length as there are blocks, wherever a cut falls. A block whose
// run has only a part of a tile's depth leaves its sums in `partial`; the one that comes last adds up all parts of the
// tile, in the order of depth. So a result depends on the number of blocks, and on nothing else: not on the other rows, nor
// on who comes last. See gemm_tiles.cuh.

// TILE_ROWS and TILE_COLUMNS are defined where this is compiled.
constexpr int WARPS_IN_ROWS = TILE_ROWS == 64 ? 2 : 1;
constexpr int RING = TILE_COLUMNS == 128 ? 4 : 6;
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
    // At most two for each block: of the tile that its run begins in, and of the one that it ends in.
    auto part_of = [&](int block) {
        const int place = 2 * block + (first_unit(shares, block) / shares.steps == tile ? 0 : 1);
        return reinterpret_cast<float4*>(partial) + static_cast<size_t>(place) * PARTS * GEMM_THREADS + threadIdx.x;
    };
    const int from = owner_of(shares, tile * shares.steps), to = owner_of(shares, (tile + 1) * shares.steps - 1);
    float4* own = part_of(blockIdx.x);
#pragma unroll
    for (int part = 0; part < PARTS; ++part) {
        const float* four = sums.of[part / T::COLUMN_PARTS][part % T::COLUMN_PARTS];
        own[part * GEMM_THREADS] = make_float4(four[0], four[1], four[2], four[3]);
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        // No other tile that is cut begins in the run of this one's first block.
        last[0] = atomicAdd(done + from, 1u) == static_cast<unsigned>(to - from);
        if (last[0]) done[from] = 0; // For the next launch.
    }
    __syncthreads();
    if (!last[0]) return false;
    __threadfence();
    clear(sums);
    for (int block = from; block <= to; ++block) {
        const float4* other = part_of(block);
#pragma unroll
        for (int part = 0; part < PARTS; ++part) {
            const float4 four = other[part * GEMM_THREADS];
            float* own_four = sums.of[part / T::COLUMN_PARTS][part % T::COLUMN_PARTS];
            own_four[0] += four.x, own_four[1] += four.y, own_four[2] += four.z, own_four[3] += four.w;
        }
    }
    return true;
}

// The body of all kernels: `store(sums, first column)` for each tile, by one block.
template <typename T, Weights KIND, typename Store>
DEVICE void multiply_few(float* partial, unsigned* done, const bf16* x, const bf16* weight, int rows, int columns, int depth,
                         Store store) {
    constexpr int WIDTH = tile_columns<T, KIND>();
    DYNAMIC_SHARED(bf16, shared);
    const int steps = (depth + DEPTH - 1) / DEPTH;
    const Shares shares{steps, (columns + WIDTH - 1) / WIDTH * steps};
    const int first = first_unit(shares, blockIdx.x), end = first_unit(shares, blockIdx.x + 1);
    Sums<T> sums;
    clear(sums);
    auto load_rows = [&](bf16* stage, int step) {
        const int at = (first + step) % steps * DEPTH;
        copy_tile<T::ROWS, DEPTH>(stage, x, at, depth, [&](int row) { return row < rows ? (long long)row : -1ll; });
    };
    auto load_weights = [&](bf16* stage, int step) {
        const int unit = first + step, at = unit % steps * DEPTH;
        copy_weights<T, KIND>(stage + T::ROWS * DEPTH, weight, unit / steps * WIDTH, columns, at, depth);
    };
    auto load = [&](bf16* stage, int step) {
        load_weights(stage, step);
        load_rows(stage, step);
    };
    auto multiply = [&](const bf16* stage, int step) {
        multiply_stage<T, false, KIND == Weights::COLUMNS>(sums, stage, stage + T::ROWS * DEPTH);
        const int unit = first + step, tile = unit / steps;
        if (unit + 1 < end && (unit + 1) % steps != 0) return;
        const bool whole = tile * steps >= first && unit + 1 == (tile + 1) * steps;
        if (whole || add_up_parts(sums, partial, done, shares, tile)) store(sums, tile * WIDTH);
        clear(sums);
    };
    // No kernel of a recorded step writes weights: their first steps are on the way when the kernel before this one ends.
    load_ahead<T>(shared, end - first, load_weights);
    await_previous();
    load_ahead<T>(shared, end - first, load_rows);
    pipeline<T>(shared, end - first, load, multiply);
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

// Of all kernels: partial [2 blocks, TILE_ROWS, TILE_COLUMNS], done [blocks], which is 0 before and after. The grid: at most as
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
