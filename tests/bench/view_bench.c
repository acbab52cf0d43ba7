/*
 * What a page costs: 200 rows of 12 values, rendered by the real engine. Prints microseconds (median of 9 runs) for
 * filling the model and for rendering it, beside a plain memcpy of the same number of bytes.
 */
#include "base/clock.h"
#include "view/template.h"

#define ROWS 200
#define VALUES 12
#define RUNS 9
#define REPEAT 400

static enum err open_page(void *arg, const char *stem, struct buf *out)
{
	(void)arg;
	(void)stem;
	buf_str(out, "<table>{{#rows}}<tr>");
	for (int i = 0; i < VALUES; i++)
		buf_fmt(out, "<td class=\"cell c%d\">{{v%d}}</td>\n", i, i);
	buf_str(out, "</tr>{{/rows}}</table>");
	return ERR_OK;
}

static struct view_map *fill(struct arena *a, const enum view_name names[VALUES], enum view_name rows)
{
	static const char *const text[VALUES] = { "prices.html", "changed", "signed by alice 3 days ago", "12 kB", "Tom & Jerry",
		"/docs/guides/a-longer-path/of-some-depth/prices.html", "0f1e2d3c4b5a", "<b>", "12 minutes ago",
		"2026-11-21T06:10:20.123456Z", "it's", "x" };
	struct view_map *m = view_map_new(a);
	struct view_list *l = view_set_list(m, rows);

	for (int r = 0; r < ROWS; r++) {
		struct view_map *row = view_list_add(l);
		for (int i = 0; i < VALUES; i++)
			view_set(row, names[i], text[i]);
	}
	return m;
}

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static double median(double *of)
{
	qsort(of, RUNS, sizeof *of, compare);
	return of[RUNS / 2];
}

int main(void)
{
	struct view_names *table = view_names_growing();
	struct view_source source = { .open = open_page, .dir = "bench" };
	struct view_set *set = view_set_new();
	struct buf out = BUF_INIT(1u << 20);
	enum view_name names[VALUES], rows = view_names_find(table, "rows", 4);
	double filling[RUNS], rendering[RUNS], copying[RUNS];
	int failed = 1;

	for (int i = 0; i < VALUES; i++) {
		char name[8];
		int n = snprintf(name, sizeof name, "v%d", i);
		names[i] = view_names_find(table, name, (size_t)n);
	}
	if (view_compile(set, "page", table, &source)) {
		fprintf(stderr, "view_bench: %s\n", err_text());
		goto out;
	}
	for (int run = 0; run < RUNS; run++) {
		int64_t t0 = clock_boot();
		for (int i = 0; i < REPEAT; i++) {
			struct arena *a = arena_new();
			fill(a, names, rows);
			arena_free(a);
		}
		int64_t t1 = clock_boot();
		struct arena *a = arena_new();
		const struct view_map *m = fill(a, names, rows);
		int64_t t2 = clock_boot();
		for (int i = 0; i < REPEAT; i++) {
			buf_reset(&out);
			if (view_render(set, "page", m, &out)) {
				fprintf(stderr, "view_bench: %s\n", err_text());
				arena_free(a);
				goto out;
			}
		}
		int64_t t3 = clock_boot();
		arena_free(a);
		char *copy = mem_alloc(out.len);
		for (int i = 0; i < REPEAT; i++) {
			memcpy(copy, out.p, out.len);
			__asm__ volatile("" : : "r"(copy) : "memory");
		}
		int64_t t4 = clock_boot();
		free(copy);
		filling[run] = (double)(t1 - t0) / REPEAT;
		rendering[run] = (double)(t3 - t2) / REPEAT;
		copying[run] = (double)(t4 - t3) / REPEAT;
	}
	printf("page of %d rows x %d values, %zu bytes\n", ROWS, VALUES, out.len);
	printf("fill the model  %6.1f us\nrender          %6.1f us\nmemcpy          %6.1f us\n", median(filling), median(rendering),
	    median(copying));
	failed = 0;
out:
	buf_release(&out);
	view_free(set);
	view_names_free(table);
	return failed;
}
