/* conf: the file as people write it, each refusal with file and line, units, the sample. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "conf/conf.h"

static char dir[64];

static char *in_dir(const char *name)
{
	return mem_printf("%s/%s", dir, name);
}

static int make_dirs(void **state)
{
	static const char *const DIRS[] = { "data", "staging", "staging2", "place", "place/below" };

	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/drydock-conf-test-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	for (size_t i = 0; i < sizeof(DIRS) / sizeof(*DIRS); i++) {
		char *name = in_dir(DIRS[i]);
		int r = mkdir(name, 0755);

		free(name);
		if (r)
			return -1;
	}
	return 0;
}

static int remove_dirs(void **state)
{
	(void)state;
	return file_remove_tree(AT_FDCWD, dir) ? -1 : 0;
}

/* Write a file in which each @ before / or " stands for the test's directory, and load it. */
static enum err load(struct conf **out, const char *text)
{
	struct buf b = BUF_INIT(1 << 20);
	char *name = in_dir("data/drydock.conf");
	enum err e;

	for (; *text; text++) {
		if (*text == '@' && (text[1] == '/' || text[1] == '"'))
			buf_str(&b, dir);
		else
			buf_char(&b, *text);
	}
	assert_int_equal(file_write_fast(AT_FDCWD, name, buf_text(&b), b.len, 0600), ERR_OK);
	e = conf_load(out, name);
	buf_release(&b);
	free(name);
	return e;
}

static void reads_everything(void **state)
{
	struct conf *c = NULL;
	char *data = in_dir("data"), *staging = in_dir("staging");

	(void)state;
	assert_int_equal(load(&c,
	    "# a comment with ${HOME} in it is harmless\n"
	    "port = 9000\n"
	    "preview_port = 9001\n"
	    "log_level = \"debug\"\n"
	    "session_idle = \"1h 30min\"\n"
	    "site \"www\" {\n"
	    "\ttitle = \"Harbour \\\"Authority\\\"\"\n"
	    "\tstaging = \"@/staging\"\n"
	    "\tlargest_file = \"500kB\"\n"
	    "\tquiet_period = \"2s\"\n"
	    "\twatch = no\n"
	    "\ttarget \"one\" { kit = \"local\" place = \"@/place\" option = {\"a=b\", \"c=d e\"} }\n"
	    "\ttarget \"two\" { kit = \"other\" place = \"host:/x\" deadline = \"90s\" }\n"
	    "}\n"
	    "site \"docs\" { staging = \"@/staging2/\" }\n"),
	    ERR_OK);
	assert_string_equal(c->data, data);
	assert_int_equal(c->port, 9000);
	assert_int_equal(c->workers, 4);
	assert_string_equal(c->preview_host, "localhost");
	assert_int_equal(c->session_idle_us, INT64_C(5400000000));
	assert_int_equal(c->n_sites, 2);
	assert_string_equal(c->sites[0].title, "Harbour \"Authority\"");
	assert_string_equal(c->sites[0].staging, staging);
	assert_int_equal(c->sites[0].largest_file, 500000);
	assert_int_equal(c->sites[0].quiet_us, 2000000);
	assert_int_equal(c->sites[0].longest_us, INT64_C(3600000000));
	assert_false(c->sites[0].watch);
	assert_int_equal(c->sites[0].n_targets, 2);
	assert_string_equal(c->sites[0].targets[0].options[1], "c=d e");
	assert_int_equal(c->sites[0].targets[0].n_options, 2);
	assert_int_equal(c->sites[0].targets[1].deadline_us, 90000000);
	assert_string_equal(c->sites[1].title, "docs");
	assert_int_equal(c->sites[1].n_targets, 0);
	assert_ptr_equal(conf_site(c, "docs"), &c->sites[1]);
	assert_null(conf_site(c, "none"));
	conf_free(c);
	free(data);
	free(staging);
}

static void defaults(void **state)
{
	struct conf *c = NULL;

	(void)state;
	assert_int_equal(load(&c, ""), ERR_OK);
	assert_string_equal(c->address, "127.0.0.1");
	assert_int_equal(c->port, 8087);
	assert_string_equal(c->preview_host, "");
	assert_string_equal(c->database_url, "");
	assert_int_equal(c->event_keep_us, INT64_C(90) * 86400 * 1000000);
	assert_non_null(strstr(c->templates, "/templates"));
	assert_int_equal(c->n_sites, 0);
	conf_free(c);
}

/* text, and what the sentence has to hold: the line first. */
static const struct refusal {
	const char *text, *line, *part;
} REFUSALS[] = {
	{ "port = 1\nprot = 2\n", ":2: ", "prot" },
	{ "port = \"many\"\n", ":1: ", "not a number" },
	{ "\n\nport = 70000\n", ":3: ", "between 1 and 65535" },
	{ "port = 0x10\n", ":1: ", "not a number" },
	{ "port = -1\n", ":1: ", "not a number" },
	{ "port = 1\nport = 2\n", ":2: ", "set before, in line 1" },
	{ "workers = 0\n", ":1: ", "between 1 and 64" },
	{ "address = \"localhost\"\n", ":1: ", "numeric" },
	{ "address = \"0.0.0.0\"\n", ":1: ", "public_url" },
	{ "allow_plain_http = maybe\n", ":1: ", "neither yes nor no" },
	{ "public_url = \"drydock.example.org\"\n", ":1: ", "http://" },
	{ "public_url = \"https://drydock.example.org/\"\n", ":1: ", "without a \"/\"" },
	{ "public_url = \"https://a b\"\n", ":1: ", "is not an address" },
	{ "idle = 5\n", ":1: ", "no unit" },
	{ "idle = \"5 parsecs\"\n", ":1: ", "unknown unit" },
	{ "idle = \"999999999999999999999s\"\n", ":1: ", "too large" },
	{ "idle = \"1us\"\n", ":1: ", "between 1s and 1h" },
	{ "session_idle = \"9d\"\n", ":1: ", "session_absolute" },
	{ "log_level = \"loud\"\n", ":1: ", "none of" },
	{ "preview_port = 8087\n", ":1: ", "port of their own" },
	{ "demo_port = 8090\n", ":1: ", "demo_directory" },
	{ "data = \"here\"\n", ":1: ", "absolute" },
	{ "user = \"a b\"\n", ":1: ", "user name" },
	{ "database = \"mysql://u:secret@h/d\"\n", ":1: ", "password" },
	{ "database_password_file = \"@/missing\"\n", ":1: ", "No such file" },
	{ "database_password_file = \"@/open\"\n", ":1: ", "others can read" },
	{ "port = 1\ndata = \"${HOME}/x\"\n", ":2: ", "environment" },
	{ "port = 1\nlog_level = \"a\x01\"\n", ":2: ", "control" },
	{ "port = 1\n\xff\n", ":2: ", "UTF-8" },
	{ "port = \n", ":", "" },
	{ "site \"www\" {\n", ":", "" },
	{ "site www { staging = \"@/staging\" }\nsite www { staging = \"@/staging\" }\n", ":2: ", "www" },
	{ "port = 1\nsite \"Bad\" { staging = \"@/staging\" }\n", ":2: ", "not a valid name" },
	{ "site \"installation\" { staging = \"@/staging\" }\n", ":1: ", "not a valid name" },
	{ "site \"www\" {\n}\n", ":2: ", "staging: has to be set" },
	{ "site \"www\" {\nstaging = \"@/none\" }\n", ":2: ", "make the directory" },
	{ "site \"www\" {\nstaging = \"@/open\" }\n", ":2: ", "not a directory" },
	{ "site \"www\" {\nstaging = \"@\" }\n", ":2: ", "may not contain one another" },
	{ "site \"www\" {\nstaging = \"@/data\" }\n", ":2: ", "may not contain one another" },
	{ "site \"www\" {\nstaging = \"@/link\" }\n", ":2: ", "may not contain one another" },
	{ "site \"www\" { staging = \"@/staging\"\ntarget t { place = \"@/staging/x/y\" } }\n", ":2: ", "may not contain one another" },
	{ "site \"www\" { staging = \"@/staging\"\ntarget t { place = \"@/data/x\" } }\n", ":2: ", "may not contain one another" },
	{ "site \"www\" { staging = \"@/staging\" target t { place = \"@/place\" }\ntarget u { place = \"@/place/below\" } }\n", ":2: ",
	    "may not contain one another" },
	{ "site \"www\" { staging = \"@/staging\"\ntarget \"T\" { place = \"@/place\" } }\n", ":2: ", "not a valid name" },
	{ "site \"www\" { staging = \"@/staging\"\ntarget t { place = \"@/place\" kit = \"../x\" } }\n", ":2: ", "name of a kit" },
	{ "site \"www\" { staging = \"@/staging\"\ntarget t { place = \"@/place\"\noption = {\"a=b\", \"c\"} } }\n", ":3: ", "key=value" },
	{ "site \"www\" { staging = \"@/staging\"\ntarget t {\n} }\n", ":3: ", "place: has to be set" },
	{ "site \"www\" { staging = \"@/staging\"\ncolour = \"red\" }\n", ":2: ", "colour" },
	{ "include(\"/etc/passwd\")\n", ":1: ", "include" },
	{ "# one\n\n#two # \"\n// three\n/* four\n # * / it's\n*/ port = 1 # \"five\nprot = 2\n", ":8: ", "prot" },
	{ "site www { staging = \"@/staging\" title = \"a\\\"#b\" # c\ntitle = \"/*//\" }\n", ":2: ", "set before, in line 1" },
	{ "public_url = http://a // b\n/*/ c */ prot = 2\n", ":2: ", "prot" },
	{ "port = 1\n/* prot = 2\n\n", ":2: ", "has no end" },
	{ "name = 'a#b\n# c\n", ":", "" },
};

static void refuses(void **state)
{
	char *open = in_dir("open"), *link = in_dir("link"), *data = in_dir("data"), *prefix = in_dir("data/drydock.conf");

	(void)state;
	assert_int_equal(file_write_fast(AT_FDCWD, open, "x", 1, 0644), ERR_OK);
	assert_int_equal(chmod(open, 0644), 0);
	assert_int_equal(symlink(data, link), 0);
	for (size_t i = 0; i < sizeof(REFUSALS) / sizeof(*REFUSALS); i++) {
		const struct refusal *r = &REFUSALS[i];
		struct conf *c = NULL;
		enum err e = load(&c, r->text);

		if (e != ERR_INPUT || strncmp(err_text(), prefix, strlen(prefix)) ||
		    strncmp(err_text() + strlen(prefix), r->line, strlen(r->line)) || !strstr(err_text(), r->part))
			fail_msg("%s\n-> %d %s\nwanted %s and %s", r->text, (int)e, e ? err_text() : "", r->line, r->part);
	}
	free(open);
	free(link);
	free(data);
	free(prefix);
}

/* What looks like a comment within a text is text. */
static void comments(void **state)
{
	struct conf *c = NULL;

	(void)state;
	assert_int_equal(load(&c, "# data\nname = \"a\" # \"b\"\npublic_url = http://host//x // y\nport = 80# 81\n"), ERR_INPUT);
	assert_int_equal(load(&c, "# data\nname = \"a\" # \"b\"\npublic_url = http://host // y\nport = 80# 81\n"
				  "site \"www\" { /* { */ staging = \"@/staging\" title = \"/* #1 // \\\"it's\\\" */\" # }\n}\n"), ERR_OK);
	assert_string_equal(c->name, "a");
	assert_string_equal(c->public_url, "http://host");
	assert_int_equal(c->port, 80);
	assert_string_equal(c->sites[0].title, "/* #1 // \"it's\" */");
	conf_free(c);
}

static void no_file(void **state)
{
	struct conf *c = NULL;

	(void)state;
	assert_int_equal(conf_load(&c, "/nonexistent/drydock.conf"), ERR_INPUT);
	assert_non_null(strstr(err_text(), "/nonexistent/drydock.conf"));
	assert_int_equal(conf_load(&c, dir), ERR_INPUT);
}

static void takes_nothing_from_the_environment(void **state)
{
	struct conf *c = NULL;

	(void)state;
	assert_int_equal(setenv("DRYDOCK_TEST_SECRET", "leaked", 1), 0);
	assert_int_equal(load(&c, "site \"www\" { staging = \"@/staging\" title = \"$DRYDOCK_TEST_SECRET ~root $(id)\" }\n"), ERR_OK);
	assert_string_equal(c->sites[0].title, "$DRYDOCK_TEST_SECRET ~root $(id)");
	conf_free(c);
	assert_int_equal(load(&c, "site \"www\" { staging = \"@/staging\" title = \"${DRYDOCK_TEST_SECRET}\" }\n"), ERR_INPUT);
	assert_null(strstr(err_text(), "leaked"));
}

static void units(void **state)
{
	static const struct {
		const char *text;
		int64_t us;
	} TIMES[] = { { "0", 0 }, { "0s", 0 }, { "250ms", 250000 }, { "1us", 1 }, { "5min", 300000000 }, { "1h30min", INT64_C(5400000000) },
		{ "1 h", INT64_C(3600000000) }, { "2w", INT64_C(1209600000000) } };
	static const struct {
		const char *text;
		uint64_t bytes;
	} SIZES[] = { { "0", 0 }, { "100B", 100 }, { "1kB", 1000 }, { "1KiB", 1024 }, { "2GiB", UINT64_C(2147483648) } };
	static const char *const BAD[] = { "", " ", "5", "min", "5 min x", "-5min", "1.5h", "5MIN", "99999999999w" };
	int64_t us;
	uint64_t bytes;

	(void)state;
	for (size_t i = 0; i < sizeof(TIMES) / sizeof(*TIMES); i++) {
		assert_int_equal(conf_duration(&us, TIMES[i].text), ERR_OK);
		assert_int_equal(us, TIMES[i].us);
	}
	for (size_t i = 0; i < sizeof(SIZES) / sizeof(*SIZES); i++) {
		assert_int_equal(conf_size(&bytes, SIZES[i].text), ERR_OK);
		assert_int_equal(bytes, SIZES[i].bytes);
	}
	for (size_t i = 0; i < sizeof(BAD) / sizeof(*BAD); i++) {
		assert_int_equal(conf_duration(&us, BAD[i]), ERR_INPUT);
		assert_int_equal(conf_size(&bytes, BAD[i]), ERR_INPUT);
	}
}

static void seen(void *arg, const char *option, bool reload)
{
	struct buf *b = arg;

	buf_fmt(b, "%s%s;", option, reload ? "+" : "");
}

static void compares(void **state)
{
	struct conf *a = NULL, *b = NULL;
	struct buf out = BUF_INIT(1024);

	(void)state;
	assert_int_equal(load(&a, "site \"www\" { staging = \"@/staging\" target t { place = \"@/place\" } }\n"), ERR_OK);
	assert_int_equal(load(&b, "port = 1\nlog_level = \"warn\"\nsite \"www\" { staging = \"@/staging\" quiet_period = \"1s\" "
	                          "target t { place = \"@/place\" option = {\"a=b\"} } }\n"), ERR_OK);
	conf_compare(a, a, seen, &out);
	assert_string_equal(buf_text(&out), "");
	conf_compare(a, b, seen, &out);
	assert_string_equal(buf_text(&out), "port;log_level+;site www: quiet_period+;site www: target t: option;");
	conf_free(a);
	conf_free(b);
	buf_release(&out);
}

/* The sample in doc/ is what the table says, and with its directories made it loads. */
static void sample_is_current(void **state)
{
	struct buf now = BUF_INIT(1 << 20), kept = BUF_INIT(1 << 20);
	const char *src = getenv("srcdir");
	char *name = mem_printf("%s/doc/drydock.conf.sample", src ? src : "."), *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	struct conf *c = NULL;

	(void)state;
	assert_non_null(out);
	conf_sample(out);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(file_read(AT_FDCWD, name, &kept), ERR_OK);
	assert_string_equal(buf_text(&kept), text);

	/* The places that it names are examples. */
	for (char *p = text; *p;) {
		if (!strncmp(p, "/srv/staging/www", 16)) {
			buf_str(&now, "@/staging");
			p += 16;
		} else {
			buf_char(&now, *p++);
		}
	}
	assert_int_equal(load(&c, buf_text(&now)), ERR_OK);
	assert_int_equal(c->n_sites, 1);
	conf_free(c);
	buf_release(&now);
	buf_release(&kept);
	free(name);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_everything),
		cmocka_unit_test(defaults),
		cmocka_unit_test(refuses),
		cmocka_unit_test(comments),
		cmocka_unit_test(no_file),
		cmocka_unit_test(takes_nothing_from_the_environment),
		cmocka_unit_test(units),
		cmocka_unit_test(compares),
		cmocka_unit_test(sample_is_current),
	};

	return cmocka_run_group_tests_name("conf", tests, make_dirs, remove_dirs);
}
