// Products of matrices with the weights of many experts at once. Rows lie in expert order; `offsets` [experts + 1] says
// where each expert's begin, and is read here, so the host never learns the load.
//
// - rows_by_transposed: out[p, :] = a[row(p), :] W_e^T,  W_e [columns, depth]
// - rows_by:            out[p, :] = a[row(p), :] W_e,    W_e [depth, columns]
// - add_weight_gradient: dW_e[i, j] += sum over the expert's p of a[row_a(p), i] b[row_b(p), j]
//
// row(p) is p, or gather[p] where a list is given. The grid has as many tiles as any load could need; a tile that the load
// does not need ends at once. Whatever the tile, a number of `out` is summed by the same mma in the same order of depth, so
// a row's result does not depend on the tile, nor on the other rows.
//
// A block copies tiles of both factors, DEPTH deep, into a ring of STAGES in shared memory (cp.async), and multiplies one
// stage while the next ones arrive. A row of a tile is cut into chunks of 16 bytes; chunk c of row r lies at c ^ (r & 7), so
// that the eight rows which ldmatrix reads at a time lie in different banks.

constexpr int DEPTH = 64;
constexpr int CHUNK_NUMBERS = 8;
constexpr int GEMM_THREADS = 128;

// One kind of tile: ROWS x COLUMNS numbers of the result, WARP_ROWS x WARP_COLUMNS of them by one warp.
template <int ROWS_, int COLUMNS_, int WARP_ROWS_, int WARP_COLUMNS_, int STAGES_>
struct Tile {
    static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, WARP_ROWS = WARP_ROWS_, WARP_COLUMNS = WARP_COLUMNS_;
    static constexpr int STAGES = STAGES_;
    static constexpr int ROW_PARTS = WARP_ROWS / 16, COLUMN_PARTS = WARP_COLUMNS / 8;
    static constexpr int STAGE_NUMBERS = (ROWS + COLUMNS) * DEPTH;
    static_assert(ROWS / WARP_ROWS * (COLUMNS / WARP_COLUMNS) * 32 == GEMM_THREADS, "four warps share a tile");
};

// For much training data, for little, and for decoding.
using LargeTile = Tile<128, 128, 64, 64, 3>;
using MediumTile = Tile<64, 128, 32, 64, 3>;
using SmallTile = Tile<16, 64, 16, 16, 4>;

// Where the number (row, column) of a tile with WIDTH numbers a row lies.
template <int WIDTH>
DEVICE int swizzled(int row, int column) {
    return row * WIDTH + (((column / CHUNK_NUMBERS) ^ (row & 7)) * CHUNK_NUMBERS);
}

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

// The numbers of one thread: for each 16 x 8 part of the warp's, rows lane / 4 and that + 8, columns lane % 4 * 2 and + 1.
template <typename T>
struct Sums {
    float of[T::ROW_PARTS][T::COLUMN_PARTS][4];
};

// sums += a b for one stage. a lies as [ROWS, DEPTH], or as [DEPTH, ROWS] if A_IS_DEEP; b as [COLUMNS, DEPTH], or as
// [DEPTH, COLUMNS] if B_IS_DEEP. ldmatrix turns over what lies deep.
template <typename T, bool A_IS_DEEP, bool B_IS_DEEP>
DEVICE void multiply_stage(Sums<T>& sums, const bf16* a, const bf16* b) {
    int warp = warp_index(), lane = lane_index();
    int warp_row = warp / (T::COLUMNS / T::WARP_COLUMNS) * T::WARP_ROWS;
    int warp_column = warp % (T::COLUMNS / T::WARP_COLUMNS) * T::WARP_COLUMNS;
    // Each lane points ldmatrix to one row of one of four 8 x 8 matrices.
    int inner = lane % 8, low = lane / 8 % 2 * 8, high = lane / 16 * 8;
#pragma unroll
    for (int depth = 0; depth < DEPTH; depth += 16) {
        unsigned b_parts[T::COLUMN_PARTS][2];
#pragma unroll
        for (int part = 0; part < T::COLUMN_PARTS; part += 2) {
            int column = warp_column + part * 8;
            unsigned four[4];
            if (B_IS_DEEP) {
                load_matrix_x4_transposed(four, b + swizzled<T::COLUMNS>(depth + low + inner, column + high));
            } else {
                load_matrix_x4(four, b + swizzled<DEPTH>(column + high + inner, depth + low));
            }
            b_parts[part][0] = four[0];
            b_parts[part][1] = four[1];
            b_parts[part + 1][0] = four[2];
            b_parts[part + 1][1] = four[3];
        }
#pragma unroll
        for (int row_part = 0; row_part < T::ROW_PARTS; row_part++) {
            int row = warp_row + row_part * 16;
            unsigned a_part[4];
            if (A_IS_DEEP) {
                load_matrix_x4_transposed(a_part, a + swizzled<T::ROWS>(depth + high + inner, row + low));
            } else {
                load_matrix_x4(a_part, a + swizzled<DEPTH>(row + low + inner, depth + high));
            }
#pragma unroll
            for (int part = 0; part < T::COLUMN_PARTS; part++) {
                mma_bf16_16x8x16(sums.of[row_part][part], a_part, b_parts[part]);
            }
        }
    }
}

// Runs `load(stage's memory, step)` for every step in order, ahead of `multiply(stage's memory)`.
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
        multiply(shared + step % T::STAGES * T::STAGE_NUMBERS);
    }
}

// Calls `use(row, column, value, next value)` for each pair of neighbours of the tile.
template <typename T, typename Use>
DEVICE void each_pair(const Sums<T>& sums, Use use) {
    int warp = warp_index(), lane = lane_index();
    int warp_row = warp / (T::COLUMNS / T::WARP_COLUMNS) * T::WARP_ROWS;
    int warp_column = warp % (T::COLUMNS / T::WARP_COLUMNS) * T::WARP_COLUMNS;
#pragma unroll
    for (int row_part = 0; row_part < T::ROW_PARTS; row_part++) {
#pragma unroll
        for (int part = 0; part < T::COLUMN_PARTS; part++) {
            const float* four = sums.of[row_part][part];
            int row = warp_row + row_part * 16 + lane / 4;
            int column = warp_column + part * 8 + lane % 4 * 2;
            use(row, column, four[0], four[1]);
            use(row + 8, column, four[2], four[3]);
        }
    }
}

template <typename T>
DEVICE void clear(Sums<T>& sums) {
#pragma unroll
    for (int row_part = 0; row_part < T::ROW_PARTS; row_part++) {
#pragma unroll
        for (int part = 0; part < T::COLUMN_PARTS; part++) {
#pragma unroll
            for (int i = 0; i < 4; i++) sums.of[row_part][part][i] = 0.0f;
        }
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

// The body of both products of rows with weights; W_IS_DEEP: W_e is [depth, columns]. `weight_stride`: numbers from one
// expert's matrix to the next one's.
template <typename T, bool W_IS_DEEP>
DEVICE void multiply_rows(bf16* shared, bf16* out, const bf16* a, const bf16* weight, const unsigned* offsets,
                          const unsigned* gather, int experts, int columns, int depth, size_t weight_stride) {
    SHARED(int, source_rows, T::ROWS);
    int column_tiles = (columns + T::COLUMNS - 1) / T::COLUMNS;
    RowTile tile = find_row_tile(offsets, experts, T::ROWS, blockIdx.x / column_tiles);
    if (tile.expert < 0) return;
    int first_column = blockIdx.x % column_tiles * T::COLUMNS;
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
        bf16* b = stage + T::ROWS * DEPTH;
        if (W_IS_DEEP) {
            copy_tile<DEPTH, T::COLUMNS>(b, w, first_column, columns, [&](int row) {
                return first + row < depth ? (long long)(first + row) : -1ll;
            });
        } else {
            copy_tile<T::COLUMNS, DEPTH>(b, w, first, depth, [&](int row) {
                return first_column + row < columns ? (long long)(first_column + row) : -1ll;
            });
        }
    };
    auto multiply = [&](const bf16* stage) {
        multiply_stage<T, false, W_IS_DEEP>(sums, stage, stage + T::ROWS * DEPTH);
    };
    pipeline<T>(shared, (depth + DEPTH - 1) / DEPTH, load, multiply);

    each_pair<T>(sums, [&](int row, int column, float value, float next) {
        long long place = tile.first + row;
        if (place < tile.end && first_column + column < columns) {
            // Columns come in eights, so the neighbour is there, and both lie in one aligned word.
            unsigned* at = reinterpret_cast<unsigned*>(out + place * columns + first_column + column);
            *at = pack_bf16(value, next);
        }
    });
}

// out [pairs, columns], a [rows, depth], weight of expert e at e * weight_stride, gather [pairs] or null.
// The grid: column tiles times the most row tiles there can be.
KERNEL_BOUNDS(GEMM_THREADS, 2, rows_by_transposed_large, bf16* out, const bf16* a, const bf16* weight,
              const unsigned* offsets, const unsigned* gather, int experts, int columns, int depth, size_t weight_stride) {
    DYNAMIC_SHARED(bf16, shared);
    multiply_rows<LargeTile, false>(shared, out, a, weight, offsets, gather, experts, columns, depth, weight_stride);
}

KERNEL_BOUNDS(GEMM_THREADS, 2, rows_by_transposed_medium, bf16* out, const bf16* a, const bf16* weight,
              const unsigned* offsets, const unsigned* gather, int experts, int columns, int depth, size_t weight_stride) {
    DYNAMIC_SHARED(bf16, shared);
    multiply_rows<MediumTile, false>(shared, out, a, weight, offsets, gather, experts, columns, depth, weight_stride);
}

KERNEL_BOUNDS(GEMM_THREADS, 2, rows_by_transposed_small, bf16* out, const bf16* a, const bf16* weight,
              const unsigned* offsets, const unsigned* gather, int experts, int columns, int depth, size_t weight_stride) {
    DYNAMIC_SHARED(bf16, shared);
    multiply_rows<SmallTile, false>(shared, out, a, weight, offsets, gather, experts, columns, depth, weight_stride);
}

KERNEL_BOUNDS(GEMM_THREADS, 2, rows_by_large, bf16* out, const bf16* a, const bf16* weight,
              const unsigned* offsets, const unsigned* gather, int experts, int columns, int depth, size_t weight_stride) {
    DYNAMIC_SHARED(bf16, shared);
    multiply_rows<LargeTile, true>(shared, out, a, weight, offsets, gather, experts, columns, depth, weight_stride);
}

KERNEL_BOUNDS(GEMM_THREADS, 2, rows_by_medium, bf16* out, const bf16* a, const bf16* weight,
              const unsigned* offsets, const unsigned* gather, int experts, int columns, int depth, size_t weight_stride) {
    DYNAMIC_SHARED(bf16, shared);
    multiply_rows<MediumTile, true>(shared, out, a, weight, offsets, gather, experts, columns, depth, weight_stride);
}

KERNEL_BOUNDS(GEMM_THREADS, 2, rows_by_small, bf16* out, const bf16* a, const bf16* weight,
              const unsigned* offsets, const unsigned* gather, int experts, int columns, int depth, size_t weight_stride) {
    DYNAMIC_SHARED(bf16, shared);
    multiply_rows<SmallTile, true>(shared, out, a, weight, offsets, gather, experts, columns, depth, weight_stride);
}

// d_weight of expert e at e * stride, [height, width] += a^T b over the expert's rows; a [.., height], b [.., width];
// gather_a, gather_b: [pairs] or null. The grid: experts * height tiles * width tiles.
KERNEL_BOUNDS(GEMM_THREADS, 2, add_weight_gradient, float* d_weight, const bf16* a, const bf16* b,
              const unsigned* offsets, const unsigned* gather_a, const unsigned* gather_b, int height, int width,
              size_t stride) {
    using T = LargeTile;
    DYNAMIC_SHARED(bf16, shared);
    int width_tiles = (width + T::COLUMNS - 1) / T::COLUMNS, height_tiles = (height + T::ROWS - 1) / T::ROWS;
    int expert = blockIdx.x / width_tiles / height_tiles;
    int first_row = blockIdx.x / width_tiles % height_tiles * T::ROWS;
    int first_column = blockIdx.x % width_tiles * T::COLUMNS;
    long long begin = offsets[expert], end = offsets[expert + 1];
    if (begin == end) return;

    Sums<T> sums;
    clear(sums);
    auto load = [&](bf16* stage, int step) {
        long long first = begin + (long long)step * DEPTH;
        auto row_of = [&](const unsigned* gather) {
            return [=](int row) {
                long long place = first + row;
                return place >= end ? -1ll : gather ? (long long)gather[place] : place;
            };
        };
        copy_tile<DEPTH, T::ROWS>(stage, a, first_row, height, row_of(gather_a));
        copy_tile<DEPTH, T::COLUMNS>(stage + T::ROWS * DEPTH, b, first_column, width, row_of(gather_b));
    };
    auto multiply = [&](const bf16* stage) { multiply_stage<T, true, true>(sums, stage, stage + T::ROWS * DEPTH); };
    pipeline<T>(shared, (int)((end - begin + DEPTH - 1) / DEPTH), load, multiply);

    float* d = d_weight + expert * stride;
    each_pair<T>(sums, [&](int row, int column, float value, float next) {
        if (first_row + row < height && first_column + column < width) {
            float2* at = reinterpret_cast<float2*>(d + (size_t)(first_row + row) * width + first_column + column);
            const float2 old = *at;
            *at = make_float2(old.x + value, old.y + next);
        }
    });
}
