// Tiles of bf16 rows in shared memory, for the tensor cores: how they are filled, and how a warp reads factors from them.
//
// A tile holds rows of WIDTH numbers, filled up with zeros to a multiple of 16. A row takes 8 numbers more than that, so
// that eight rows at one column lie in different banks: 16 bytes each, an odd multiple of 16 bytes apart.

// A width filled up to whole steps of a product.
DEVICE constexpr int filled(int width) { return (width + 15) / 16 * 16; }

// Numbers from one row of a tile to the next.
DEVICE constexpr int tile_stride(int width) { return filled(width) + 8; }

constexpr float LOG2_E = 1.4426950408889634f;
constexpr int INT_LIMIT = 0x7fffffff;

DEVICE float minus_infinity() { return -__int_as_float(0x7f800000); }

// 2^x. What is smaller than the smallest normal number is zero.
DEVICE float fast_exp2(float x) {
#ifndef EMULATION
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
#else
    return std::exp2(x);
#endif
}

// Starts to copy rows first .. first + ROWS of `source` into a tile; rows from `end` on are zeros. WIDTH is a multiple of 8.
template <int WIDTH, int ROWS, int THREADS>
DEVICE void load_tile(bf16* tile, const bf16* source, size_t row_stride, int first, int end) {
    // Threads side by side copy 16 bytes each of one row, 128 bytes where rows are so long, and then go on to other rows.
    constexpr int CHUNKS = filled(WIDTH) / 8, COLUMNS = CHUNKS % 8 == 0 ? 8 : CHUNKS % 4 == 0 ? 4 : 2;
    constexpr int STEP = THREADS / COLUMNS;
    const int column = threadIdx.x % COLUMNS * 8, first_row = threadIdx.x / COLUMNS;
    const bf16* from = source + static_cast<size_t>(first + first_row) * row_stride + column;
    bf16* to = tile + first_row * tile_stride(WIDTH) + column;
#pragma unroll
    for (int row = 0; row < ROWS; row += STEP) {
        if (ROWS % STEP != 0 && first_row + row >= ROWS) break;
        const bool valid = first + first_row + row < end;
#pragma unroll
        for (int more = 0; more < 8 * CHUNKS; more += 8 * COLUMNS)
            copy_async_16(to + more, from + more, valid && (WIDTH % 16 == 0 || column + more < WIDTH));
        from += STEP * row_stride;
        to += STEP * tile_stride(WIDTH);
    }
}

// The left factor of a product: rows row .. row + 16 of a tile, columns column .. column + 16.
DEVICE void load_left(unsigned (&a)[4], const bf16* tile, int stride, int row, int column) {
    const int lane = lane_index();
    load_matrix_x4(a, tile + (row + lane % 16) * stride + column + lane / 16 * 8);
}

// Right factors of two products, whose columns are rows row .. row + 8 and row + 8 .. row + 16 of a tile: x y^T.
DEVICE void load_right_rows(unsigned (&b)[2][2], const bf16* tile, int stride, int row, int column) {
    const int lane = lane_index();
    unsigned four[4];
    load_matrix_x4(four, tile + (row + lane % 8 + lane / 16 * 8) * stride + column + lane / 8 % 2 * 8);
    b[0][0] = four[0], b[0][1] = four[1], b[1][0] = four[2], b[1][1] = four[3];
}

// Right factors of two products, whose columns are columns column .. + 8 and column + 8 .. + 16 of a tile: x y.
DEVICE void load_right_columns(unsigned (&b)[2][2], const bf16* tile, int stride, int row, int column) {
    const int lane = lane_index();
    unsigned four[4];
    load_matrix_x4_transposed(four, tile + (row + lane % 16) * stride + column + lane / 16 * 8);
    b[0][0] = four[0], b[0][1] = four[1], b[1][0] = four[2], b[1][1] = four[3];
}

// The sums of two neighbouring products, rounded, as the left factor of another product.
DEVICE void as_left(unsigned (&a)[4], const float (&first)[4], const float (&second)[4]) {
    a[0] = pack_bf16(first[0], first[1]);
    a[1] = pack_bf16(first[2], first[3]);
    a[2] = pack_bf16(second[0], second[1]);
    a[3] = pack_bf16(second[2], second[3]);
}

// sums += x y^T: x is 16 M rows of a tile, from x_row on, y is 8 TILES rows of another, from y_row on; both are WIDTH wide.
template <int WIDTH, int M, int TILES>
DEVICE void multiply_rows(float (&sums)[M][TILES][4], const bf16* x, int x_row, const bf16* y, int y_row) {
    static_assert(TILES == 1 || TILES % 2 == 0, "products come in pairs, but for a single one");
    constexpr int STRIDE = tile_stride(WIDTH);
#pragma unroll
    for (int column = 0; column < filled(WIDTH); column += 16) {
        unsigned a[M][4];
#pragma unroll
        for (int m = 0; m < M; ++m) load_left(a[m], x, STRIDE, x_row + 16 * m, column);
        if constexpr (TILES == 1) {
            unsigned b[2];
            load_matrix_x2(b, y + (y_row + lane_index() % 8) * STRIDE + column + lane_index() / 8 % 2 * 8);
#pragma unroll
            for (int m = 0; m < M; ++m) mma_bf16_16x8x16(sums[m][0], a[m], b);
        } else {
#pragma unroll
            for (int t = 0; t < TILES; t += 2) {
                unsigned b[2][2];
                load_right_rows(b, y, STRIDE, y_row + 8 * t, column);
#pragma unroll
                for (int m = 0; m < M; ++m) {
                    mma_bf16_16x8x16(sums[m][t], a[m], b[0]);
                    mma_bf16_16x8x16(sums[m][t + 1], a[m], b[1]);
                }
            }
        }
    }
}

// sums += p y: p [16 M, 8 TILES] lies in registers as the sums of products, y is the first 8 TILES rows of a tile that is
// WIDTH wide.
template <int WIDTH, int M, int TILES>
DEVICE void multiply_columns(float (&sums)[M][filled(WIDTH) / 8][4], const float (&p)[M][TILES][4], const bf16* y) {
    constexpr int STRIDE = tile_stride(WIDTH);
#pragma unroll
    for (int t = 0; t < TILES; t += 2) {
        unsigned a[M][4];
#pragma unroll
        for (int m = 0; m < M; ++m) as_left(a[m], p[m][t], p[m][t + 1]);
#pragma unroll
        for (int column = 0; column < filled(WIDTH); column += 16) {
            unsigned b[2][2];
            load_right_columns(b, y, STRIDE, 8 * t, column);
#pragma unroll
            for (int m = 0; m < M; ++m) {
                mma_bf16_16x8x16(sums[m][column / 8], a[m], b[0]);
                mma_bf16_16x8x16(sums[m][column / 8 + 1], a[m], b[1]);
            }
        }
    }
}

// Starts the sums of products at zero.
template <int M, int TILES>
DEVICE void clear(float (&sums)[M][TILES][4]) {
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
        for (int t = 0; t < TILES; ++t)
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[m][t][i] = 0.0f;
}

// Puts the sums of products, times a factor for each row, as bf16 into rows of a tile.
template <int WIDTH, int M>
DEVICE void store_sums(bf16* tile, int row, const float (&sums)[M][filled(WIDTH) / 8][4], const float (&factors)[M][2]) {
    const int lane = lane_index();
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
        for (int t = 0; t < filled(WIDTH) / 8; ++t)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                bf16* to = tile + (row + 16 * m + 8 * half + lane / 4) * tile_stride(WIDTH) + 8 * t + lane % 4 * 2;
                const float factor = factors[m][half];
                const float low = sums[m][t][2 * half] * factor, high = sums[m][t][2 * half + 1] * factor;
                *reinterpret_cast<unsigned*>(to) = pack_bf16(low, high);
            }
}

// Puts the sums of products, times a factor, as they are into rows of `out`; those of a warp's 16 rows from `row` on.
template <int WIDTH>
DEVICE void store_partial(float* out, int row_stride, int row, const float (&sums)[1][filled(WIDTH) / 8][4], float factor) {
#pragma unroll
    for (int t = 0; t < filled(WIDTH) / 8; ++t)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int column = 8 * t + lane_index() % 4 * 2;
            if (column >= WIDTH) continue;
            float* to = out + (row + 8 * half + lane_index() / 4) * row_stride + column;
            *reinterpret_cast<float2*>(to) = make_float2(sums[0][t][2 * half] * factor, sums[0][t][2 * half + 1] * factor);
        }
}

// Copies rows of a tile to rows first .. end of `out`, at most ROWS.
template <int WIDTH, int ROWS, int THREADS>
DEVICE void store_tile(bf16* out, size_t row_stride, int first, int end, const bf16* tile) {
    constexpr int CHUNKS = WIDTH / 8;
#pragma unroll 4
    for (int i = threadIdx.x; i < ROWS * CHUNKS; i += THREADS) {
        const int row = i / CHUNKS, column = i % CHUNKS * 8;
        if (first + row < end) {
            uint4* to = reinterpret_cast<uint4*>(out + static_cast<size_t>(first + row) * row_stride + column);
            *to = *reinterpret_cast<const uint4*>(tile + row * tile_stride(WIDTH) + column);
        }
    }
}

// The walk of a block through runs of rows, tile by tile. Runs are pairs (start, end); none is empty.
struct Walk {
    const int* runs;
    int run, runs_end;
    // The tile's rows: first .. end, of which it takes as many as fit.
    int first, end;
    // Rows from here on are not needed.
    int limit;
};

DEVICE bool rows_left(const Walk& walk) { return walk.run < walk.runs_end; }

DEVICE void enter_run(Walk& walk) {
    if (!rows_left(walk)) return;
    walk.first = walk.runs[2 * walk.run];
    walk.end = min(walk.runs[2 * walk.run + 1], walk.limit);
    // Runs are in order: what follows is not needed either.
    if (walk.first >= walk.end) walk.run = walk.runs_end;
}

// A walk through runs run .. runs_end, at its first tile.
DEVICE Walk walk_through(const int* runs, int run, int runs_end, int limit) {
    Walk walk = {runs, run, runs_end, 0, 0, limit};
    enter_run(walk);
    return walk;
}

DEVICE void next_tile(Walk& walk, int tile) {
    walk.first += tile;
    if (walk.first >= walk.end) {
        ++walk.run;
        enter_run(walk);
    }
}
