/* For Python: addresses and sizes, which kernels.py has checked. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "kernels.h"

static PyObject *py_gather_matmul(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long x, rows, weight, out;
    long long n[5], strides[3];
    int half, threads;
    if (!PyArg_ParseTuple(args, "KKKK(LLLLL)(LLL)pi", &x, &rows, &weight, &out, n, n + 1, n + 2, n + 3, n + 4, strides,
                          strides + 1, strides + 2, &half, &threads))
        return NULL;
    Product product = {(void *)x, (int32_t *)rows, (void *)weight, (void *)out, n[0], n[1], n[2], n[3], n[4],
                       {strides[0], strides[1], strides[2]}};
    int done;
    Py_BEGIN_ALLOW_THREADS
    done = gather_matmul(&product, half, threads);
    Py_END_ALLOW_THREADS
    if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *py_gather_outer(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long x, rows, g, out;
    long long n[5];
    int half, threads;
    if (!PyArg_ParseTuple(args, "KKKK(LLLLL)pi", &x, &rows, &g, &out, n, n + 1, n + 2, n + 3, n + 4, &half, &threads))
        return NULL;
    Outer outer = {(void *)x, (int32_t *)rows, (void *)g, (void *)out, n[0], n[1], n[2], n[3], n[4]};
    int done;
    Py_BEGIN_ALLOW_THREADS
    done = gather_outer(&outer, half, threads);
    Py_END_ALLOW_THREADS
    if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *py_group_nodes(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long key, counts, order, group, row;
    long long nodes, keys, groups;
    int threads;
    if (!PyArg_ParseTuple(args, "KKKKK(LL)i", &key, &counts, &order, &group, &row, &nodes, &keys, &threads)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    groups = group_nodes((int64_t *)key, nodes, keys, (int64_t *)counts, (int64_t *)order, (int64_t *)group,
                         (int64_t *)row);
    Py_END_ALLOW_THREADS
    if (groups < 0) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *py_count_kinds(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long ends, type, group, kind, counts;
    long long edges, groups, types;
    int threads;
    if (!PyArg_ParseTuple(args, "KKKKK(LLL)i", &ends, &type, &group, &kind, &counts, &edges, &groups, &types, &threads))
        return NULL;
    Edges e = {(int64_t *)ends, (int64_t *)ends + edges, (int64_t *)type, edges};
    Py_BEGIN_ALLOW_THREADS
    count_kinds(&e, (int64_t *)group, groups, types, (int64_t *)kind, (int64_t *)counts, threads);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *py_fill_tables(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long ends, kind, row, lookup, sources, readers;
    long long edges, kinds;
    int threads;
    if (!PyArg_ParseTuple(args, "KKKKKK(LL)i", &ends, &kind, &row, &lookup, &sources, &readers, &edges, &kinds, &threads))
        return NULL;
    Edges e = {(int64_t *)ends, (int64_t *)ends + edges, NULL, edges};
    const int64_t *of = (int64_t *)lookup;
    Py_BEGIN_ALLOW_THREADS
    fill_tables(&e, (int64_t *)kind, (int64_t *)row, of, of + kinds, of + 2 * kinds, of + 3 * kinds,
                (int32_t *)sources, (int32_t *)readers, threads);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

/* Address after address, then sizes. */
static PyObject *py_norm_relu(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long x, weight, bias, y, mean, variance;
    long long n, c;
    float eps;
    int half, threads, done;
    if (!PyArg_ParseTuple(args, "KKKKKK(LL)fpi", &x, &weight, &bias, &y, &mean, &variance, &n, &c, &eps, &half, &threads))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    if (half)
        done = norm_relu_half((bf16 *)x, n, c, (float *)weight, (float *)bias, eps, (bf16 *)y, (float *)mean,
                              (float *)variance, threads);
    else
        done = norm_relu_single((float *)x, n, c, (float *)weight, (float *)bias, eps, (float *)y, (float *)mean,
                                (float *)variance, threads);
    Py_END_ALLOW_THREADS
    if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *py_known_norm_relu(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long x, weight, bias, mean, variance, y;
    long long n, c;
    float eps;
    int half, threads, done;
    if (!PyArg_ParseTuple(args, "KKKKKK(LL)fpi", &x, &weight, &bias, &mean, &variance, &y, &n, &c, &eps, &half, &threads))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    if (half)
        done = known_norm_relu_half((bf16 *)x, n, c, (float *)weight, (float *)bias, (float *)mean, (float *)variance,
                                    eps, (bf16 *)y, threads);
    else
        done = known_norm_relu_single((float *)x, n, c, (float *)weight, (float *)bias, (float *)mean,
                                      (float *)variance, eps, (float *)y, threads);
    Py_END_ALLOW_THREADS
    if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *py_norm_relu_backward(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long grad, x, weight, bias, mean, variance, grad_x, grad_weight, grad_bias;
    long long n, c;
    float eps;
    int half, threads, done;
    if (!PyArg_ParseTuple(args, "KKKKKKKKK(LL)fpi", &grad, &x, &weight, &bias, &mean, &variance, &grad_x, &grad_weight,
                          &grad_bias, &n, &c, &eps, &half, &threads))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    if (half)
        done = norm_relu_backward_half((bf16 *)grad, (bf16 *)x, n, c, (float *)weight, (float *)bias, (float *)mean,
                                       (float *)variance, eps, (bf16 *)grad_x, (float *)grad_weight, (float *)grad_bias,
                                       threads);
    else
        done = norm_relu_backward_single((float *)grad, (float *)x, n, c, (float *)weight, (float *)bias, (float *)mean,
                                         (float *)variance, eps, (float *)grad_x, (float *)grad_weight,
                                         (float *)grad_bias, threads);
    Py_END_ALLOW_THREADS
    if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* Returns whether what it was given is in range. */
static PyObject *py_choose_nodes(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long source, type, kind, read, order, counts;
    long long n[4];
    int threads;
    if (!PyArg_ParseTuple(args, "KKKKKK(LLLL)i", &source, &type, &kind, &read, &order, &counts, n, n + 1, n + 2, n + 3,
                          &threads))
        return NULL;
    Choice choice = {(int64_t *)source, (int64_t *)type, (int64_t *)kind, (uint8_t *)read, n[0], n[1], n[2], n[3]};
    int64_t good;
    Py_BEGIN_ALLOW_THREADS
    good = choose_nodes(&choice, (int64_t *)order, (int64_t *)counts, threads);
    Py_END_ALLOW_THREADS
    return good < 0 ? PyErr_NoMemory() : PyBool_FromLong(good);
}

/* Returns whether a graph may be trusted. */
static PyObject *py_check_graph(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long ends, edge_type, endpoints, node_type, level, graph;
    long long edges, types, n[4];
    int threads, good;
    if (!PyArg_ParseTuple(args, "KKKKKK(LLLLLL)i", &ends, &edge_type, &endpoints, &node_type, &level, &graph, &edges,
                          &types, n, n + 1, n + 2, n + 3, &threads))
        return NULL;
    Edges e = {(int64_t *)ends, (int64_t *)ends + edges, (int64_t *)edge_type, edges};
    Typed nodes = {(int64_t *)node_type, (int64_t *)level, (int64_t *)graph, n[0], n[1], n[2], n[3]};
    Py_BEGIN_ALLOW_THREADS
    good = check_graph(&e, &nodes, (int64_t *)endpoints, types, threads);
    Py_END_ALLOW_THREADS
    return good < 0 ? PyErr_NoMemory() : PyBool_FromLong(good);
}

static PyObject *py_all_finite(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long x;
    long long count;
    int threads, good;
    if (!PyArg_ParseTuple(args, "KLi", &x, &count, &threads)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    good = all_finite((float *)x, count, threads);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(good);
}

/* Returns whether graphs ascend and are in range. */
static PyObject *py_find_runs(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long graph, first;
    long long nodes, graphs;
    int threads, good;
    if (!PyArg_ParseTuple(args, "KK(LL)i", &graph, &first, &nodes, &graphs, &threads)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    good = find_runs((int64_t *)graph, nodes, graphs, (int64_t *)first);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(good);
}

static PyObject *py_mean_and_max(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long x, first, out;
    long long graphs, c;
    int half, threads;
    if (!PyArg_ParseTuple(args, "KKK(LL)pi", &x, &first, &out, &graphs, &c, &half, &threads)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    if (half)
        mean_and_max_half((bf16 *)x, (int64_t *)first, graphs, c, (float *)out, threads);
    else
        mean_and_max_single((float *)x, (int64_t *)first, graphs, c, (float *)out, threads);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *py_mean_and_max_backward(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long grad, x, out, first, grad_x;
    long long graphs, c;
    int half, threads, done;
    if (!PyArg_ParseTuple(args, "KKKKK(LL)pi", &grad, &x, &out, &first, &grad_x, &graphs, &c, &half, &threads)) return NULL;
    Py_BEGIN_ALLOW_THREADS
    if (half)
        done = mean_and_max_backward_half((float *)grad, (bf16 *)x, (float *)out, (int64_t *)first, graphs, c,
                                          (bf16 *)grad_x, threads);
    else
        done = mean_and_max_backward_single((float *)grad, (float *)x, (float *)out, (int64_t *)first, graphs, c,
                                            (float *)grad_x, threads);
    Py_END_ALLOW_THREADS
    if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *py_count_induced(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long entity, ends, present, nodes, edges;
    long long n[4];
    int threads, done;
    if (!PyArg_ParseTuple(args, "KKKKK(LLLL)i", &entity, &ends, &present, &nodes, &edges, n, n + 1, n + 2, n + 3, &threads))
        return NULL;
    Lattice lattice = {(int64_t *)entity, (int64_t *)ends, (int64_t *)ends + n[1], n[0], n[1], n[2]};
    Py_BEGIN_ALLOW_THREADS
    done = count_induced(&lattice, (uint8_t *)present, n[3], (int64_t *)nodes, (int64_t *)edges, threads);
    Py_END_ALLOW_THREADS
    if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *py_fill_induced(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long entity, ends, present, first_node, first_edge, node, row, image, edge, edge_index;
    long long n[5];
    int threads, done;
    if (!PyArg_ParseTuple(args, "KKKKKKKKKK(LLLLL)i", &entity, &ends, &present, &first_node, &first_edge, &node, &row,
                          &image, &edge, &edge_index, n, n + 1, n + 2, n + 3, n + 4, &threads))
        return NULL;
    Lattice lattice = {(int64_t *)entity, (int64_t *)ends, (int64_t *)ends + n[1], n[0], n[1], n[2]};
    int64_t *source = (int64_t *)edge_index;
    Py_BEGIN_ALLOW_THREADS
    done = fill_induced(&lattice, (uint8_t *)present, n[3], (int64_t *)first_node, (int64_t *)first_edge, (int64_t *)node,
                        (int64_t *)row, (int64_t *)image, (int64_t *)edge, source, source + n[4], threads);
    Py_END_ALLOW_THREADS
    if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *py_measure_cells(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long pixels, rows, columns, present, features;
    long long n[9];
    int threads, done;
    if (!PyArg_ParseTuple(args, "KKKKK(LLLLLLLLL)i", &pixels, &rows, &columns, &present, &features, n, n + 1, n + 2,
                          n + 3, n + 4, n + 5, n + 6, n + 7, n + 8, &threads))
        return NULL;
    Grid grid = {n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], (int64_t *)rows, (int64_t *)columns};
    Py_BEGIN_ALLOW_THREADS
    done = measure_cells(&grid, (uint8_t *)pixels, n[0], (uint8_t *)present, (float *)features, threads);
    Py_END_ALLOW_THREADS
    if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *py_supports(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    int single = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    int half = single && __builtin_cpu_supports("avx512bf16");
    return Py_BuildValue("(NN)", PyBool_FromLong(single), PyBool_FromLong(half));
}

static PyMethodDef methods[] = {
    {"gather_matmul", py_gather_matmul, METH_VARARGS, "Products of gathered rows and weights."},
    {"gather_outer", py_gather_outer, METH_VARARGS, "Gradients of those weights."},
    {"group_nodes", py_group_nodes, METH_VARARGS, "Nodes of one key together."},
    {"count_kinds", py_count_kinds, METH_VARARGS, "Kinds of edges."},
    {"fill_tables", py_fill_tables, METH_VARARGS, "Tables of sources and readers."},
    {"norm_relu", py_norm_relu, METH_VARARGS, "Batch normalisation, then the rectifier."},
    {"known_norm_relu", py_known_norm_relu, METH_VARARGS, "The same with known statistics."},
    {"norm_relu_backward", py_norm_relu_backward, METH_VARARGS, "Its gradients."},
    {"choose_nodes", py_choose_nodes, METH_VARARGS, "Nodes that a readout pools."},
    {"check_graph", py_check_graph, METH_VARARGS, "Whether a graph may be trusted."},
    {"all_finite", py_all_finite, METH_VARARGS, "Whether all numbers are finite."},
    {"find_runs", py_find_runs, METH_VARARGS, "Where each graph's nodes start."},
    {"mean_and_max", py_mean_and_max, METH_VARARGS, "Mean and maximum of graphs."},
    {"mean_and_max_backward", py_mean_and_max_backward, METH_VARARGS, "Their gradient."},
    {"count_induced", py_count_induced, METH_VARARGS, "Sizes of induced subgraphs."},
    {"fill_induced", py_fill_induced, METH_VARARGS, "Induced subgraphs."},
    {"measure_cells", py_measure_cells, METH_VARARGS, "Contrast and features of the cells of grids."},
    {"supports", py_supports, METH_NOARGS, "Whether this CPU has the instructions, for float32 and for bfloat16."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_native", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) { return PyModule_Create(&module); }
