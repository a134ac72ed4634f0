/* A CUDA driver without a GPU, for what the packages above it do: memory is the host's, and a kernel does nothing.

   cuda-bindings asks cuGetProcAddress for every function. Those that are not here answer CUDA_ERROR_NOT_SUPPORTED, so
   that what is missing is a Python error with a name. What a graph may not do while it is recorded is an error too. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2, NOT_FOUND = 500, NOT_SUPPORTED = 801, UNSUPPORTED_IN_CAPTURE = 900 };
typedef void *P;
typedef uint64_t Address;

/* --- what there is to be asked afterwards ------------------------------------------------------------------------- */

static long launched, graphs, graph_launches;
static size_t limit = (size_t)8 << 30, taken;
long seen_launched(void) { return launched; }
long seen_graphs(void) { return graphs; }
long seen_graph_launches(void) { return graph_launches; }
void set_limit(size_t bytes) { limit = bytes; }

/* --- the driver and its one device -------------------------------------------------------------------------------- */

static int unsupported(void) { return NOT_SUPPORTED; }

int cuGetProcAddress_v2(const char *name, P *found, int version, uint64_t flags, int *status) {
    static P self;
    char second[128];
    Dl_info here;
    if (!self && dladdr((P)cuGetProcAddress_v2, &here)) self = dlopen(here.dli_fname, RTLD_NOW);
    snprintf(second, sizeof second, "%s_v2", name);
    *found = strcmp(name, "cuGetProcAddress") ? dlsym(self, name) : (P)cuGetProcAddress_v2;
    if (!*found) *found = dlsym(self, second);
    if (!*found) *found = (P)unsupported;
    if (status) *status = 0;
    return OK;
}

int cuInit(unsigned flags) { return OK; }
int cuDriverGetVersion(int *v) { *v = 12090; return OK; }
int cuGetErrorString(int e, const char **s) { *s = "an error of the driver without a GPU"; return OK; }
int cuGetErrorName(int e, const char **s) {
    *s = e == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : e == NOT_SUPPORTED ? "CUDA_ERROR_NOT_SUPPORTED" : "CUDA_ERROR";
    return OK;
}
int cuDeviceGetCount(int *n) { *n = 1; return OK; }
int cuDeviceGet(int *device, int i) { *device = 0; return OK; }
int cuDeviceGetName(char *s, int n, int device) { snprintf(s, n, "no GPU"); return OK; }
int cuDeviceTotalMem_v2(size_t *n, int device) { *n = limit; return OK; }
int cuDeviceGetUuid_v2(char *id, int device) { memset(id, 1, 16); return OK; }
int cuDeviceGetAttribute(int *v, int which, int device) {
    switch (which) {
    case 75: *v = 9; break;   /* compute capability 9.0 */
    case 76: *v = 0; break;
    case 16: *v = 132; break; /* multiprocessors */
    case 10: *v = 32; break;  /* threads of a warp */
    case 1: case 2: case 3: *v = 1024; break;
    case 5: case 6: case 7: *v = 65535; break;
    case 8: *v = 49152; break; /* bytes of shared memory */
    default: *v = 1;
    }
    return OK;
}

/* --- the context -------------------------------------------------------------------------------------------------- */

static int context, is_current;
int cuDevicePrimaryCtxRetain(P *c, int device) { *c = &context; return OK; }
int cuDevicePrimaryCtxRelease_v2(int device) { return OK; }
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = 0; *active = 1; return OK; }
int cuCtxGetCurrent(P *c) { *c = is_current ? &context : 0; return OK; }
int cuCtxSetCurrent(P c) { is_current = c != 0; return OK; }
int cuCtxPushCurrent_v2(P c) { is_current = 1; return OK; }
int cuCtxPopCurrent_v2(P *c) { *c = &context; is_current = 0; return OK; }
int cuCtxGetDevice(int *device) { *device = 0; return OK; }
int cuCtxGetDevice_v2(int *device, P c) { *device = 0; return OK; }
int cuCtxGetId(P c, unsigned long long *id) { *id = 1; return OK; }
int cuCtxGetStreamPriorityRange(int *least, int *greatest) { *least = 0; *greatest = -5; return OK; }
int cuCtxSynchronize(void) { return OK; }

/* --- memory ------------------------------------------------------------------------------------------------------- */

static int capturing;
int cuMemGetInfo_v2(size_t *free, size_t *total) { *free = limit > taken ? limit - taken : 0; *total = limit; return OK; }
int cuMemAlloc_v2(Address *p, size_t n) {
    size_t *block;
    if (taken + n > limit || !(block = calloc(1, n + 256))) return OUT_OF_MEMORY;
    *block = n;
    taken += n;
    *p = (Address)block + 256;
    return OK;
}
int cuMemFree_v2(Address p) {
    size_t *block = (P)(p - 256);
    taken -= *block;
    free(block);
    return OK;
}
static int copy(Address to, Address from, size_t n) {
    if (capturing) return UNSUPPORTED_IN_CAPTURE;
    memmove((P)to, (P)from, n);
    return OK;
}
int cuMemcpyHtoD_v2(Address to, P from, size_t n) { return copy(to, (Address)from, n); }
int cuMemcpyDtoH_v2(P to, Address from, size_t n) { return copy((Address)to, from, n); }
int cuMemcpyDtoD_v2(Address to, Address from, size_t n) { return copy(to, from, n); }
int cuMemcpyHtoDAsync_v2(Address to, P from, size_t n, P stream) { return copy(to, (Address)from, n); }
int cuMemcpyDtoHAsync_v2(P to, Address from, size_t n, P stream) { return copy((Address)to, from, n); }
int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t n, P stream) { return copy(to, from, n); }
int cuPointerGetAttribute(P value, int which, Address p) { *(Address *)value = which == 2 ? 2 : p; return OK; }

/* --- code --------------------------------------------------------------------------------------------------------- */

static int function;
int cuModuleLoadDataEx(P *m, P image, unsigned n, P options, P values) { *m = malloc(1); return OK; }
int cuModuleUnload(P m) { return OK; }
int cuModuleGetFunction(P *f, P m, const char *name) { *f = &function; return OK; }
int cuModuleGetGlobal_v2(Address *p, size_t *n, P m, const char *name) { return NOT_FOUND; }
int cuLibraryLoadData(P *l, P code, P a, P b, unsigned n, P c, P d, unsigned m) { *l = malloc(1); return OK; }
int cuLibraryUnload(P l) { return OK; }
int cuLibraryGetKernel(P *k, P l, const char *name) { *k = &function; return OK; }
int cuLibraryGetModule(P *m, P l) { *m = l; return OK; }
int cuLibraryGetGlobal(Address *p, size_t *n, P l, const char *name) { return NOT_FOUND; }
int cuKernelGetFunction(P *f, P k) { *f = &function; return OK; }
int cuKernelGetLibrary(P *l, P k) { *l = k; return OK; }
int cuKernelGetAttribute(int *v, int which, P k, int device) { *v = 1; return OK; }
int cuFuncGetAttribute(int *v, int which, P f) { *v = 1; return OK; }

/* --- launches, and graphs of them --------------------------------------------------------------------------------- */

static struct graph { long kernels; } *current;
struct grid { unsigned x, y, z, threads_x, threads_y, threads_z, shared; P stream; };
struct instantiate { uint64_t flags; P stream, node; int result; };
static int own(P stream) { return (Address)stream > 2; } /* 0, 1 and 2 are the default ones */

int cuLaunchKernelEx(const struct grid *g, P f, P *args, P extra) {
    unsigned threads = g->threads_x * g->threads_y * g->threads_z;
    if (!g->x || g->x > 2147483647u || !threads || threads > 1024) return INVALID;
    if (capturing && !own(g->stream)) return UNSUPPORTED_IN_CAPTURE;
    if (capturing) current->kernels++;
    else launched++;
    return OK;
}
int cuLaunchKernel(P f, unsigned x, unsigned y, unsigned z, unsigned threads_x, unsigned threads_y, unsigned threads_z,
                   unsigned shared, P stream, P *args, P extra) {
    struct grid g = {x, y, z, threads_x, threads_y, threads_z, shared, stream};
    return cuLaunchKernelEx(&g, f, args, extra);
}
int cuStreamCreateWithPriority(P *s, unsigned flags, int priority) { *s = malloc(16); return OK; }
int cuStreamDestroy_v2(P s) { free(s); return OK; }
int cuStreamSynchronize(P s) { return OK; }
int cuStreamGetCtx(P s, P *c) { *c = &context; return OK; }
int cuStreamGetCtx_v2(P s, P *c, P *green) { *c = &context; *green = 0; return OK; }
int cuStreamGetFlags(P s, unsigned *flags) { *flags = 1; return OK; }
int cuStreamGetPriority(P s, int *priority) { *priority = 0; return OK; }
int cuStreamGetDevice(P s, int *device) { *device = 0; return OK; }
int cuStreamIsCapturing(P s, int *status) { *status = capturing && own(s); return OK; }
int cuStreamBeginCapture_v2(P s, int mode) {
    if (!own(s)) return UNSUPPORTED_IN_CAPTURE;
    capturing = 1;
    current = calloc(1, sizeof *current);
    return OK;
}
int cuStreamGetCaptureInfo_v2(P s, int *status, uint64_t *id, P *graph, P *depends, size_t *n) {
    *status = capturing;
    if (id) *id = 1;
    if (graph) *graph = current;
    if (depends) *depends = 0;
    if (n) *n = 0;
    return OK;
}
int cuStreamGetCaptureInfo_v3(P s, int *status, uint64_t *id, P *graph, P *depends, P *edges, size_t *n) {
    return cuStreamGetCaptureInfo_v2(s, status, id, graph, depends, n);
}
int cuStreamEndCapture(P s, P *graph) { capturing = 0; *graph = current; return OK; }
int cuGraphInstantiateWithParams(P *e, P graph, struct instantiate *p) { *e = graph; p->result = 0; graphs++; return OK; }
int cuGraphUpload(P e, P stream) { return OK; }
int cuGraphLaunch(P e, P stream) { launched += ((struct graph *)e)->kernels; graph_launches++; return OK; }
int cuGraphDestroy(P graph) { return OK; }
int cuGraphExecDestroy(P e) { return OK; }
int cuUserObjectCreate(P *o, P p, P destroy, unsigned n, unsigned flags) { *o = &function; return OK; }
int cuUserObjectRelease(P o, unsigned n) { return OK; }
int cuGraphRetainUserObject(P graph, P o, unsigned n, unsigned flags) { return OK; }
int cuGraphReleaseUserObject(P graph, P o, unsigned n) { return OK; }
int cuEventCreate(P *e, unsigned flags) { *e = malloc(1); return OK; }
int cuEventDestroy_v2(P e) { free(e); return OK; }
int cuEventRecord(P e, P stream) { return OK; }
int cuEventSynchronize(P e) { return OK; }
int cuEventElapsedTime(float *ms, P begin, P end) { *ms = 1; return OK; }
int cuEventElapsedTime_v2(float *ms, P begin, P end) { *ms = 1; return OK; }
