#include "base/digest.h"

#include <endian.h>
#include <string.h>

/*
 * MD5 of several messages at once, a message a lane of a vector. MD5 is one long chain of dependent steps: alone it
 * leaves a processor mostly idle, and it took half of the time of a fingerprint. The compiler's vectors, so that the
 * same code runs on any machine: two SSE or NEON registers a vector, or one of AVX2 where there is one.
 */
#define LANES 8

typedef uint32_t vec __attribute__((vector_size(4 * LANES)));

struct state {
	vec a, b, c, d;
};

#define ROTATE(x, n) ((x) << (n) | (x) >> (32 - (n)))
#define F(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define G(x, y, z) ((y) ^ ((z) & ((x) ^ (y))))
#define H(x, y, z) ((x) ^ (y) ^ (z))
#define I(x, y, z) ((y) ^ ((x) | ~(z)))
#define STEP(f, a, b, c, d, k, s, t) \
	do { \
		a += f(b, c, d) + w[k] + (uint32_t)(t); \
		a = ROTATE(a, s) + b; \
	} while (0)
/* Four steps with the words k, k + step, ... and one constant each. */
#define FOUR(f, k, step, s1, s2, s3, s4, t1, t2, t3, t4) \
	do { \
		STEP(f, a, b, c, d, (k) & 15, s1, t1); \
		STEP(f, d, a, b, c, ((k) + (step)) & 15, s2, t2); \
		STEP(f, c, d, a, b, ((k) + 2 * (step)) & 15, s3, t3); \
		STEP(f, b, c, d, a, ((k) + 3 * (step)) & 15, s4, t4); \
	} while (0)

static inline uint32_t word(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return le32toh(v);
}

/* n blocks of each lane; at moves on by stride, which is 0 for a lane that has nothing to do. */
static inline __attribute__((always_inline)) void run_blocks(struct state *s, const uint8_t *at[LANES], const size_t stride[LANES], size_t n)
{
	for (; n > 0; n--) {
		vec w[16], a = s->a, b = s->b, c = s->c, d = s->d;
		for (int i = 0; i < 16; i++)
			w[i] = (vec){ word(at[0] + 4 * i), word(at[1] + 4 * i), word(at[2] + 4 * i), word(at[3] + 4 * i),
				word(at[4] + 4 * i), word(at[5] + 4 * i), word(at[6] + 4 * i), word(at[7] + 4 * i) };
		FOUR(F, 0, 1, 7, 12, 17, 22, 0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee);
		FOUR(F, 4, 1, 7, 12, 17, 22, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501);
		FOUR(F, 8, 1, 7, 12, 17, 22, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be);
		FOUR(F, 12, 1, 7, 12, 17, 22, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821);
		FOUR(G, 1, 5, 5, 9, 14, 20, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa);
		FOUR(G, 5, 5, 5, 9, 14, 20, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8);
		FOUR(G, 9, 5, 5, 9, 14, 20, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed);
		FOUR(G, 13, 5, 5, 9, 14, 20, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a);
		FOUR(H, 5, 3, 4, 11, 16, 23, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c);
		FOUR(H, 1, 3, 4, 11, 16, 23, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70);
		FOUR(H, 13, 3, 4, 11, 16, 23, 0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05);
		FOUR(H, 9, 3, 4, 11, 16, 23, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665);
		FOUR(I, 0, 7, 6, 10, 15, 21, 0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039);
		FOUR(I, 12, 7, 6, 10, 15, 21, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1);
		FOUR(I, 8, 7, 6, 10, 15, 21, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1);
		FOUR(I, 4, 7, 6, 10, 15, 21, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391);
		s->a += a;
		s->b += b;
		s->c += c;
		s->d += d;
		for (int i = 0; i < LANES; i++)
			at[i] += stride[i];
	}
}

static void run_plain(struct state *s, const uint8_t *at[LANES], const size_t stride[LANES], size_t n)
{
	run_blocks(s, at, stride, n);
}

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_AVX2_TARGET
__attribute__((target("avx2"))) static void run_avx2(struct state *s, const uint8_t *at[LANES], const size_t stride[LANES], size_t n)
{
	run_blocks(s, at, stride, n);
}
#endif

typedef void run_fn(struct state *s, const uint8_t *at[LANES], const size_t stride[LANES], size_t n);

static run_fn *run_best(void)
{
#ifdef HAVE_AVX2_TARGET
	if (__builtin_cpu_supports("avx2"))
		return run_avx2;
#endif
	return run_plain;
}

/* A message in its lane: whole blocks where they are, then the last ones with the padding, here. */
struct lane {
	size_t message;
	size_t blocks; /* left of the part that at points into */
	bool in_tail;
	size_t tail_blocks;
	uint8_t tail[128];
};

static void lane_load(struct lane *l, size_t message, const uint8_t *p, size_t n)
{
	size_t rest = n % 64, tail = rest < 56 ? 64 : 128;
	uint64_t bits = htole64((uint64_t)n * 8);
	l->message = message;
	l->blocks = n / 64;
	l->in_tail = false;
	l->tail_blocks = tail / 64;
	memset(l->tail, 0, sizeof l->tail);
	if (rest)
		memcpy(l->tail, p + n - rest, rest);
	l->tail[rest] = 0x80;
	memcpy(l->tail + tail - sizeof bits, &bits, sizeof bits);
}

static void put_word(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof v);
}

static void in_lanes(struct md5 *out, const void *const *p, const size_t *n, const uint8_t *order, size_t count)
{
	static const uint8_t nothing[64];
	run_fn *run = run_best();
	struct lane lanes[LANES];
	const uint8_t *at[LANES];
	size_t stride[LANES] = { 0 }, next = 0, busy = 0;
	struct state s = { 0 };

	for (size_t i = 0; i < LANES; i++) {
		at[i] = nothing;
		lanes[i] = (struct lane){ 0 };
	}
	for (;;) {
		size_t least = SIZE_MAX;
		for (size_t i = 0; i < LANES; i++) {
			struct lane *l = &lanes[i];
			if (stride[i] && l->blocks == 0 && l->in_tail) {
				uint8_t *to = out[l->message].b;
				put_word(to, s.a[i]);
				put_word(to + 4, s.b[i]);
				put_word(to + 8, s.c[i]);
				put_word(to + 12, s.d[i]);
				stride[i] = 0;
				at[i] = nothing;
				busy--;
			}
			if (!stride[i] && next < count) {
				size_t m = order[next];
				lane_load(l, m, p[m], n[m]);
				at[i] = p[m];
				stride[i] = 64;
				s.a[i] = 0x67452301;
				s.b[i] = 0xefcdab89;
				s.c[i] = 0x98badcfe;
				s.d[i] = 0x10325476;
				next++;
				busy++;
			}
			if (stride[i] && l->blocks == 0 && !l->in_tail) {
				l->in_tail = true;
				l->blocks = l->tail_blocks;
				at[i] = l->tail;
			}
			if (stride[i] && l->blocks < least)
				least = l->blocks;
		}
		if (busy == 0)
			return;
		run(&s, at, stride, least);
		for (size_t i = 0; i < LANES; i++)
			if (stride[i])
				lanes[i].blocks -= least;
	}
}

/* Messages that are sorted at a time; their numbers fit a byte. */
#define SOME 64
/* A lane by itself takes about twice the time of OpenSSL's MD5, which all lanes together leave far behind. */
#define LANE_COST 2

/* How many of the largest are better done alone: one that is long keeps its lane busy when the others are at the end. */
static size_t alone(const size_t *n, const uint8_t *order, size_t count)
{
	size_t all = 0, k = 0;
	for (size_t i = 0; i < count; i++)
		all += n[i];
	for (; k < count; k++) {
		size_t first = n[order[k]], second = k + 1 < count ? n[order[k + 1]] : 0, rest = all - first;
		size_t with = all / LANES > first ? all / LANES : first;
		size_t without = rest / LANES > second ? rest / LANES : second;
		if (first + LANE_COST * without >= LANE_COST * with)
			break;
		all = rest;
	}
	return k;
}

static void some(struct md5 *out, const void *const *p, const size_t *n, size_t count)
{
	uint8_t order[SOME];
	/* Largest first, so that the lanes end together. */
	for (size_t i = 0; i < count; i++) {
		size_t k = i;
		for (; k > 0 && n[order[k - 1]] < n[i]; k--)
			order[k] = order[k - 1];
		order[k] = (uint8_t)i;
	}
	size_t k = alone(n, order, count);
	for (size_t i = 0; i < k; i++)
		md5_of(&out[order[i]], p[order[i]], n[order[i]]);
	in_lanes(out, p, n, order + k, count - k);
}

void md5_many(struct md5 *out, const void *const *p, const size_t *n, size_t count)
{
	for (size_t done = 0; done < count; done += SOME)
		some(out + done, p + done, n + done, count - done < SOME ? count - done : SOME);
}
