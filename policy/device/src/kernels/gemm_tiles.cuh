// Products of matrices on the tensor cores, bf16 with f32 sums: tiles in shared memory, and a block's part of a product.
//
// A block copies tiles of both factors, DEPTH deep, into a ring of STAGES in shared memory (cp.async), and multiplies one
// stage while the next ones arrive. A row of a tile is cut into chunks of 16 bytes; chunk c of row r lies at c ^ (r & 7), so
// that the eight rows which ldmatrix reads at a time lie in different banks. Whatever the tile, a number of the result is
// summed by the same mma in the same order of depth.

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

// Where the number (row, column) of a tile with WIDTH numbers a row lies.
template <int WIDTH>
DEVICE int swizzled(int row, int column) {
    return row * WIDTH + (((column / CHUNK_NUMBERS) ^ (row & 7)) * CHUNK_NUMBERS);
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

// Calls `use(row, column, row part, column part, i)` for each pair of neighbours of the tile: the place of a pair, and where
// it is in the sums.
template <typename T, typename Use>
DEVICE void each_pair(Use use) {
    int warp = warp_index(), lane = lane_index();
    int warp_row = warp / (T::COLUMNS / T::WARP_COLUMNS) * T::WARP_ROWS;
    int warp_column = warp % (T::COLUMNS / T::WARP_COLUMNS) * T::WARP_COLUMNS;
#pragma unroll
    for (int row_part = 0; row_part < T::ROW_PARTS; row_part++) {
#pragma unroll
        for (int part = 0; part < T::COLUMN_PARTS; part++) {
            int row = warp_row + row_part * 16 + lane / 4;
            int column = warp_column + part * 8 + lane % 4 * 2;
            use(row, column, row_part, part, 0);
            use(row + 8, column, row_part, part, 2);
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

// What the weights' tile is: rows of W [columns, depth], columns of W [depth, columns], or rows
// of gate and up [2 columns, depth] by turns.
enum class Weights { ROWS, COLUMNS, GATE_AND_UP };

// Of gate and up a tile takes eight rows each by turns. So the two numbers that make an activation are in neighbouring parts
// of one thread's sums. This is the column of `out` that a tile's column belongs to.
DEVICE int activation_of(int column) { return column / 16 * 8 + column % 8; }
DEVICE bool is_up(int column) { return column % 16 >= 8; }

DEVICE float silu_times(float gate, float up) { return gate * (1 / (1 + expf(-gate)) * up); }

DEVICE void store_pair(bf16* at, float value, float next) { *reinterpret_cast<unsigned*>(at) = pack_bf16(value, next); }

// The activation of two numbers of gate and of up, rounded as the backward pass will see them.
DEVICE void store_activated(bf16* at, unsigned gate, unsigned up) {
    store_pair(at, silu_times(low_float(gate), low_float(up)), silu_times(high_float(gate), high_float(up)));
}

// How many columns of the result a tile has.
template <typename T, Weights KIND>
DEVICE constexpr int tile_columns() {
    return KIND == Weights::GATE_AND_UP ? T::COLUMNS / 2 : T::COLUMNS;
}
