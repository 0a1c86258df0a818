// The activation of a SwiGLU layer: h = silu(g) u, where gate g and up u [inner] stand side by side in a row.
// (Shazeer, "GLU Variants Improve Transformer", 2020.) With s = sigmoid(g):
//     dg = dh u s (1 + g (1 - s))        du = dh g s.

DEVICE float sigmoid(float x) {
    return 1 / (1 + expf(-x));
}

// hidden [n, inner], gate_up [n, 2 inner]. The grid is rows; pieces of a row, so that few rows keep a card busy too.
KERNEL(swiglu, bf16* hidden, const bf16* gate_up, int inner) {
    await_previous();
    const bf16* row = gate_up + (size_t)blockIdx.x * 2 * inner;
    hidden += (size_t)blockIdx.x * inner;
    const int first = (blockIdx.y * blockDim.x + threadIdx.x) * 8, step = gridDim.y * blockDim.x * 8;
    for (int column = first; column < inner; column += step) {
        float gate[8], up[8];
        load_8(gate, row + column);
        load_8(up, row + inner + column);
        for (int i = 0; i < 8; i++) {
            gate[i] *= sigmoid(gate[i]) * up[i];
        }
        store_8(hidden + column, gate);
    }
}

// d_gate_up [n, 2 inner], which may be gate_up itself; d_hidden [n, inner], before the row's factor in
// y = factor down(h).
// hidden [n, inner] or null: the activation made again, times the factor, for the gradient of down.
// factors [n] or null: then d_gate_up is times the factor, and d_factors [n] is dh . h. A block per row.
KERNEL(swiglu_backward, bf16* d_gate_up, bf16* hidden, float* d_factors, const bf16* gate_up, const bf16* d_hidden,
       const float* factors, int inner) {
    await_previous();
    const size_t row = blockIdx.x;
    gate_up += row * 2 * inner;
    d_gate_up += row * 2 * inner;
    d_hidden += row * inner;
    const float factor = factors ? factors[row] : 1;
    float products = 0;
    for (int column = threadIdx.x * 8; column < inner; column += blockDim.x * 8) {
        float gate[8], up[8], d[8], again[8];
        load_8(gate, gate_up + column);
        load_8(up, gate_up + inner + column);
        load_8(d, d_hidden + column);
        for (int i = 0; i < 8; i++) {
            const float g = gate[i], u = up[i], s = sigmoid(g), scaled = d[i] * factor;
            const float h = g * s * u;
            products += d[i] * h;
            again[i] = h * factor;
            gate[i] = scaled * u * s * (1 + g * (1 - s));
            up[i] = scaled * g * s;
        }
        store_8(d_gate_up + column, gate);
        store_8(d_gate_up + inner + column, up);
        if (hidden) {
            store_8(hidden + row * inner + column, again);
        }
    }
    if (factors) {
        products = block_sum(products);
        if (threadIdx.x == 0) {
            d_factors[row] = products;
        }
    }
}
