// Products of matrices with the weights of many experts at once. Rows lie in expert order; `offsets` [experts + 1] says
// where each expert's begin, and is read here, so the host never learns the load.
//
// - rows_by_transposed: out[p, :] = a[row(p), :] W_e^T,  W_e [columns, depth]
// - rows_by:            out[p, :] = a[row(p), :] W_e,    W_e [depth, columns]
// - activated_rows:     out[p, :] = silu(gate) up, where [gate, up] = a[row(p), :] W_e^T, W_e [2 columns, depth]
// - add_weight_gradient: dW_e[i, j] += sum over the expert's p of a[row_a(p), i] b[row_b(p), j]
//
// row(p) is p, or gather[p] where a list is given. The grid has as many tiles as any load could need; a tile that the load
// does not need ends at once. A row's result does not depend on the tile, nor on the other rows. See gemm_tiles.cuh.

// For rows in plenty, for some, and for the few of each expert in decoding: TILE_ROWS is defined where this is compiled.
using LargeTile = Tile<128, 128, 64, 64, 3>;
using MediumTile = Tile<64, 128, 32, 64, 3>;
using SmallTile = Tile<16, 64, 16, 16, 4>;
#if TILE_ROWS == 128
using RowsTile = LargeTile;
#elif TILE_ROWS == 64
using RowsTile = MediumTile;
#else
using RowsTile = SmallTile;
#endif

// Copies HEIGHT rows of WIDTH numbers from column `first_column` on; `row_of(r)` is the source's row, or below 0 for zeros.
template <int HEIGHT, int WIDTH, typename RowOf>
DEVICE void copy_tile(bf16* tile, const bf16* source, int first_column, int columns, RowOf row_of) {
    constexpr int CHUNKS = WIDTH / CHUNK_NUMBERS;
#pragma unroll
    for (int i = 0; i < HEIGHT * CHUNKS / GEMM_THREADS; i++) {
        int chunk = i * GEMM_THREADS + threadIdx.x;
        int row = chunk / CHUNKS, column = chunk % CHUNKS * CHUNK_NUMBERS;
        long long source_row = row_of(row);
        bool valid = source_row >= 0 && first_column + column < columns;
        const bf16* from = valid ? source + source_row * columns + first_column + column : source;
        copy_async_16(tile + swizzled<WIDTH>(row, column), from, valid);
    }
}

// Runs `load(stage's memory, step)` for every step in order, STAGES - 1 steps ahead of `multiply(stage's memory, step)`.
template <typename T, typename Load, typename Multiply>
DEVICE void pipeline(bf16* shared, int steps, Load load, Multiply multiply) {
#pragma unroll
    for (int step = 0; step < T::STAGES - 1; step++) {
        if (step < steps) load(shared + step * T::STAGE_NUMBERS, step);
        copy_commit();
    }
    for (int step = 0; step < steps; step++) {
        copy_wait<T::STAGES - 2>();
        // This step's tiles are there for all threads, and all are done with the stage that is filled next.
        __syncthreads();
        int next = step + T::STAGES - 1;
        if (next < steps) load(shared + next % T::STAGES * T::STAGE_NUMBERS, next);
        copy_commit();
        multiply(shared + step % T::STAGES * T::STAGE_NUMBERS, step);
    }
}

// Copies the weights' tile for the columns from `first_column` and the depth from `first` on.
template <typename T, Weights KIND>
DEVICE void copy_weights(bf16* tile, const bf16* w, int first_column, int columns, int first, int depth) {
    if (KIND == Weights::COLUMNS) {
        copy_tile<DEPTH, T::COLUMNS>(tile, w, first_column, columns, [&](int row) {
            return first + row < depth ? (long long)(first + row) : -1ll;
        });
    } else {
        copy_tile<T::COLUMNS, DEPTH>(tile, w, first, depth, [&](int row) {
            int column = first_column + (KIND == Weights::ROWS ? row : activation_of(row));
            long long source = KIND == Weights::GATE_AND_UP && is_up(row) ? (long long)columns + column : column;
            return column < columns ? source : -1ll;
        });
    }
}

struct RowTile {
    int expert;
    long long first, end;
};

// The `number`-th tile of rows, no tile spanning two experts; expert -1 where there are fewer. Every warp finds it for
// itself: a lane looks at experts that lie side by side.
DEVICE RowTile find_row_tile(const unsigned* offsets, int experts, int rows, int number) {
    int lane = lane_index();
    int share = (experts + 31) / 32;
    int first_expert = lane * share;
    int own = 0;
    for (int i = 0; i < share && first_expert + i < experts; i++) {
        own += (offsets[first_expert + i + 1] - offsets[first_expert + i] + rows - 1) / rows;
    }
    int through = own;
    for (int distance = 1; distance < 32; distance <<= 1) {
        int other = shuffle_up(through, distance);
        if (lane >= distance) through += other;
    }
    int before = through - own;
    int expert = -1, first = 0, end = 0;
    if (number >= before && number < through) {
        for (int i = 0; i < share && first_expert + i < experts; i++) {
            int begin = offsets[first_expert + i], stop = offsets[first_expert + i + 1];
            int tiles = (stop - begin + rows - 1) / rows;
            if (number >= before && number < before + tiles) {
                expert = first_expert + i;
                first = begin + (number - before) * rows;
                end = stop < first + rows ? stop : first + rows;
            }
            before += tiles;
        }
    }
    // One lane at most has found it.
    int owner = warp_max(expert >= 0 ? lane : -1);
    if (owner < 0) return RowTile{-1, 0, 0};
    return RowTile{shuffle(expert, owner), shuffle(first, owner), shuffle(end, owner)};
}

// The body of all products of rows with weights. `weight_stride`: numbers from one expert's matrix to the next one's.
// gate_up [pairs, 2 columns], for GATE_AND_UP and if not null: gate and up before the activation.
template <typename T, Weights KIND>
DEVICE void multiply_rows(bf16* shared, bf16* out, bf16* gate_up, const bf16* a, const bf16* weight, const unsigned* offsets,
                          const unsigned* gather, int experts, int columns, int depth, size_t weight_stride) {
    constexpr int TILE_COLUMNS = tile_columns<T, KIND>();
    SHARED(int, source_rows, T::ROWS);
    int column_tiles = (columns + TILE_COLUMNS - 1) / TILE_COLUMNS;
    RowTile tile = find_row_tile(offsets, experts, T::ROWS, blockIdx.x / column_tiles);
    if (tile.expert < 0) return;
    int first_column = blockIdx.x % column_tiles * TILE_COLUMNS;
    for (int row = threadIdx.x; row < T::ROWS; row += GEMM_THREADS) {
        long long place = tile.first + row;
        source_rows[row] = place >= tile.end ? -1 : gather ? (int)gather[place] : (int)place;
    }
    __syncthreads();
    const bf16* w = weight + tile.expert * weight_stride;

    Sums<T> sums;
    clear(sums);
    auto load = [&](bf16* stage, int step) {
        int first = step * DEPTH;
        copy_tile<T::ROWS, DEPTH>(stage, a, first, depth, [&](int row) { return (long long)source_rows[row]; });
        copy_weights<T, KIND>(stage + T::ROWS * DEPTH, w, first_column, columns, first, depth);
    };
    auto multiply = [&](const bf16* stage, int) {
        multiply_stage<T, false, KIND == Weights::COLUMNS>(sums, stage, stage + T::ROWS * DEPTH);
    };
    pipeline<T>(shared, (depth + DEPTH - 1) / DEPTH, load, multiply);

    // Columns come in eights, so a pair's second is there too, and both lie in one aligned word.
    each_pair<T>([&](int row, int tile_column, int row_part, int part, int i) {
        long long place = tile.first + row;
        int column = first_column + (KIND == Weights::GATE_AND_UP ? activation_of(tile_column) : tile_column);
        if (place >= tile.end || column >= columns) return;
        const float* pair = &sums.of[row_part][part][i];
        bf16* at = out + place * columns + column;
        if (KIND != Weights::GATE_AND_UP) {
            store_pair(at, pair[0], pair[1]);
        } else if (!is_up(tile_column)) {
            const float* other = &sums.of[row_part][(part + 1) % T::COLUMN_PARTS][i];
            unsigned gate = pack_bf16(pair[0], pair[1]), up = pack_bf16(other[0], other[1]);
            store_activated(at, gate, up);
            if (gate_up) {
                unsigned* words = reinterpret_cast<unsigned*>(gate_up + place * 2 * columns + column);
                words[0] = gate;
                words[columns / 2] = up;
            }
        }
    });
}

// out [pairs, columns], a [rows, depth], weight of expert e at e * weight_stride, gather [pairs] or null.
// The grid: column tiles times the most row tiles there can be.
KERNEL_BOUNDS(GEMM_THREADS, 2, rows_by_transposed, bf16* out, const bf16* a, const bf16* weight, const unsigned* offsets,
              const unsigned* gather, int experts, int columns, int depth, size_t weight_stride) {
    await_previous();
    DYNAMIC_SHARED(bf16, shared);
    multiply_rows<RowsTile, Weights::ROWS>(shared, out, nullptr, a, weight, offsets, gather, experts, columns, depth,
                                          weight_stride);
}

KERNEL_BOUNDS(GEMM_THREADS, 2, rows_by, bf16* out, const bf16* a, const bf16* weight, const unsigned* offsets,
              const unsigned* gather, int experts, int columns, int depth, size_t weight_stride) {
    await_previous();
    DYNAMIC_SHARED(bf16, shared);
    multiply_rows<RowsTile, Weights::COLUMNS>(shared, out, nullptr, a, weight, offsets, gather, experts, columns, depth,
                                          weight_stride);
}

// The same, and gate_up [pairs, 2 columns] or null; a column tile is half as wide.
KERNEL_BOUNDS(GEMM_THREADS, 2, activated_rows, bf16* out, bf16* gate_up, const bf16* a, const bf16* weight,
              const unsigned* offsets, const unsigned* gather, int experts, int columns, int depth, size_t weight_stride) {
    await_previous();
    DYNAMIC_SHARED(bf16, shared);
    multiply_rows<RowsTile, Weights::GATE_AND_UP>(shared, out, gate_up, a, weight, offsets, gather, experts, columns, depth,
                                                  weight_stride);
}

// d_weight of expert e at e * stride, [height, width] += a^T b over the expert's rows; a [.., height], b [.., width];
// gather_a, gather_b: [pairs] or null. The grid: experts * height tiles * width tiles.
KERNEL_BOUNDS(GEMM_THREADS, 2, add_weight_gradient, float* d_weight, const bf16* a, const bf16* b,
              const unsigned* offsets, const unsigned* gather_a, const unsigned* gather_b, int height, int width,
              size_t stride) {
    await_previous();
    using T = LargeTile;
    DYNAMIC_SHARED(bf16, shared);
    int width_tiles = (width + T::COLUMNS - 1) / T::COLUMNS, height_tiles = (height + T::ROWS - 1) / T::ROWS;
    int expert = blockIdx.x / width_tiles / height_tiles;
    int first_row = blockIdx.x / width_tiles % height_tiles * T::ROWS;
    int first_column = blockIdx.x % width_tiles * T::COLUMNS;
    long long begin = offsets[expert], end = offsets[expert + 1];
    if (begin == end) return;

    // Which rows a step copies, -1 for none: those of a, then those of b, each thread one. They are read from `gather` while
    // the step before their copy is multiplied, so that no copy waits for them.
    constexpr int AHEAD = T::STAGES + 1;
    static_assert(GEMM_THREADS == 2 * DEPTH, "a thread for each row of both factors");
    SHARED(int, source_rows, AHEAD * GEMM_THREADS);
    const unsigned* gather = threadIdx.x < DEPTH ? gather_a : gather_b;
    auto source_row = [&](int step) {
        long long place = begin + (long long)step * DEPTH + threadIdx.x % DEPTH;
        return place >= end ? -1 : gather ? (int)gather[place] : (int)place;
    };
    for (int step = 0; step < T::STAGES; step++) source_rows[step * GEMM_THREADS + threadIdx.x] = source_row(step);
    __syncthreads();

    Sums<T> sums;
    clear(sums);
    auto load = [&](bf16* stage, int step) {
        const int* rows = source_rows + step % AHEAD * GEMM_THREADS;
        copy_tile<DEPTH, T::ROWS>(stage, a, first_row, height, [&](int row) { return (long long)rows[row]; });
        copy_tile<DEPTH, T::COLUMNS>(stage + T::ROWS * DEPTH, b, first_column, width,
                                     [&](int row) { return (long long)rows[DEPTH + row]; });
    };
    auto multiply = [&](const bf16* stage, int step) {
        int next = source_row(step + T::STAGES);
        multiply_stage<T, true, true>(sums, stage, stage + T::ROWS * DEPTH);
        source_rows[(step + T::STAGES) % AHEAD * GEMM_THREADS + threadIdx.x] = next;
    };
    pipeline<T>(shared, (int)((end - begin + DEPTH - 1) / DEPTH), load, multiply);

    float* d = d_weight + expert * stride;
    each_pair<T>([&](int row, int column, int row_part, int part, int i) {
        if (first_row + row < height && first_column + column < width) {
            const float* pair = &sums.of[row_part][part][i];
            float2* at = reinterpret_cast<float2*>(d + (size_t)(first_row + row) * width + first_column + column);
            const float2 old = *at;
            *at = make_float2(old.x + pair[0], old.y + pair[1]);
        }
    });
}
