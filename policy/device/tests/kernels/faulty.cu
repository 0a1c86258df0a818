// Kernels with the defects that the emulator shall find.

KERNEL(write_past, float* x, int at) {
    if (threadIdx.x == 7) x[at] = 1;
}
KERNEL(read_past, float* x, const float* y, int at) {
    if (threadIdx.x == 7) x[0] = y[at];
}
KERNEL(part_before_barrier, float* x) {
    if (threadIdx.x < 40) {
        __syncthreads();
        x[0] = 1;
    } else {
        __syncthreads();
    }
}
KERNEL(leave_the_warp, float* x) {
    if (lane_index() == 31 && threadIdx.x > 32) return;
    x[threadIdx.x] = warp_sum(1.0f);
}
KERNEL(part_in_the_warp, float* x) {
    if (lane_index() < 16) x[threadIdx.x] = shuffle_xor(1.0f, 1);
    else x[threadIdx.x] = shuffle(1.0f, 1);
}
KERNEL(overrun_index, float* x) {
    SHARED(float, table, 8);
    table[threadIdx.x] = 1;
    x[threadIdx.x] = table[0];
}
KERNEL(overrun_shared, float* x) {
    SHARED(float, table, 8);
    SHARED(float, other, 8);
    float* at = table;
    if (threadIdx.x < 9) at[threadIdx.x] = 1;
    other[threadIdx.x % 8] = 2;
    __syncthreads();
    x[threadIdx.x] = table[0] + other[0];
}
KERNEL(overrun_dynamic, float* x) {
    DYNAMIC_SHARED(float, table);
    table[threadIdx.x] = 1;
    __syncthreads();
    x[threadIdx.x] = table[threadIdx.x];
}
KERNEL(no_wait, float* x, const float* y) {
    SHARED(float, table, 32 * 4);
    copy_async_16(table + threadIdx.x * 4, y + threadIdx.x * 4, true);
    copy_commit();
    copy_wait<1>();
    __syncthreads();
    x[threadIdx.x] = table[threadIdx.x];
}
KERNEL(no_barrier, float* x) {
    SHARED(float, table, 64);
    table[threadIdx.x] = 1;
    x[blockIdx.x * 64 + threadIdx.x] = table[(threadIdx.x + FROM) % 64];
}
KERNEL(unaligned, float* x) {
    float values[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    store_8(x + 1, values);
}
KERNEL(deep, float* x, int n) {
    float table[100000];
    for (int at = 0; at < n; ++at) table[at] = x[at % 8];
    x[0] = table[n - 1] + table[n / 2];
}
