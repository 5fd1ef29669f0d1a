// CUDA's words on a host: a block is a few threads, a launch its blocks one after the other. The kernels that follow
// are the printed text, unchanged. Behind them, DRIVER gives the functions of libcuda that launch them.
#include <barrier>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#define __device__
#define __global__
#define __shared__ static

struct Index { unsigned x; };
static thread_local Index threadIdx, blockIdx;
static Index gridDim;
static std::barrier<> everyone(THREADS);

static inline void __syncthreads() { everyone.arrive_and_wait(); }
template <class To, class From> static inline To bits(From x) {
  static_assert(sizeof(To) == sizeof(From));
  To y;
  std::memcpy(&y, &x, sizeof y);
  return y;
}
static inline unsigned __float_as_uint(float x) { return bits<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return bits<float>(x); }
static inline double __longlong_as_double(long long x) { return bits<double>(x); }

typedef void (*Entry)(void** arguments);
struct Kernel { const char* name; Entry entry; };

template <class Real>
static void enter(
    void (*run)(long long, const long long*, const unsigned long long*, const long long*, const Real*, double*),
    void** a) {
  run(*(long long*)a[0], *(const long long**)a[1], *(const unsigned long long**)a[2], *(const long long**)a[3],
      *(const Real**)a[4], *(double**)a[5]);
}

#define KERNEL(name) {#name, [](void** a) { enter(name, a); }}

// An image is the name of its kernel; errors are 1, an invalid value, and 500, not found.
#define DRIVER                                                                                           \
  extern "C" int cuModuleLoadData(void** module, const void* image) {                                    \
    for (const Kernel& k : KERNELS)                                                                      \
      if (!std::strcmp(k.name, (const char*)image)) return *module = (void*)&k, 0;                       \
    return 500;                                                                                          \
  }                                                                                                      \
  extern "C" int cuModuleGetFunction(void** function, void* module, const char* name) {                  \
    return std::strcmp(name, "run") ? 500 : (*function = module, 0);                                     \
  }                                                                                                      \
  extern "C" int cuDriverGetVersion(int* version) { return *version = 12040, 0; }                         \
  extern "C" int cuGetErrorName(int code, const char** name) {                                           \
    return *name = code == 1 ? "CUDA_ERROR_INVALID_VALUE" : "CUDA_ERROR_NOT_FOUND", 0;                   \
  }                                                                                                      \
  extern "C" int cuLaunchKernel(                                                                         \
      void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,      \
      unsigned shared, void* stream, void** arguments, void** extra) {                                   \
    if (!gx || gy != 1 || gz != 1 || bx != THREADS || by != 1 || bz != 1) return 1;                      \
    if (shared || stream != (void*)STREAM || extra) return 1;                                            \
    gridDim.x = gx;                                                                                      \
    std::vector<std::thread> threads;                                                                    \
    for (unsigned t = 0; t < THREADS; ++t)                                                               \
      threads.emplace_back([=] {                                                                         \
        threadIdx.x = t;                                                                                 \
        for (blockIdx.x = 0; blockIdx.x < gx; ++blockIdx.x, __syncthreads())                             \
          ((const Kernel*)function)->entry(arguments);                                                   \
      });                                                                                                \
    for (std::thread& each : threads) each.join();                                                       \
    return 0;                                                                                            \
  }
