/* drydockd init: a data directory with its key and a first configuration file. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/sys.h"
#include "base/utf8.h"
#include "core/path.h"
#include "daemon/datadir.h"
#include "daemon/internal.h"

#define CONF_FILE "drydock.conf"

/* A directory as the configuration file wants it. It may not exist yet; then it is taken as it is written. */
static enum err absolute(const char *option, const char *dir, char out[PATH_MAX])
{
	char cwd[PATH_MAX];

	if (!utf8_clean(dir, strlen(dir), false) || strpbrk(dir, "\"\\") || strstr(dir, "${"))
		return err_set(ERR_INPUT, "%s: the name holds a character that a configuration file cannot", option);
	if (realpath(dir, out))
		return ERR_OK;
	if (dir[0] == '/') {
		if (snprintf(out, PATH_MAX, "%s", dir) < PATH_MAX)
			return ERR_OK;
	} else if (getcwd(cwd, sizeof(cwd)) && snprintf(out, PATH_MAX, "%s/%s", cwd, dir) < PATH_MAX) {
		return ERR_OK;
	}
	return err_set(ERR_INPUT, "%s: the name is too long", option);
}

static enum err write_conf(const struct init_options *o, int fd)
{
	struct buf text = BUF_INIT(65536);
	char staging[PATH_MAX], production[PATH_MAX];
	enum err e = ERR_OK;

	buf_str(&text, "# DryDock's configuration. `drydockd --help-config` explains all options, `drydockd check-config` checks this file.\n");
	if (o->user)
		buf_fmt(&text, "user = \"%s\"\n", o->user);
	if (o->port)
		buf_fmt(&text, "port = %u\n", o->port);
	if (o->site) {
		e = absolute("--staging", o->staging, staging);
		if (!e && o->production)
			e = absolute("--production", o->production, production);
		if (e)
			goto out;
		buf_fmt(&text, "\nsite \"%s\" {\n\tstaging = \"%s\"\n", o->site, staging);
		if (o->production)
			buf_fmt(&text, "\ttarget \"production\" {\n\t\tkit = \"local\"\n\t\tplace = \"%s\"\n\t}\n", production);
		buf_str(&text, "}\n");
	} else {
		buf_str(&text, "\n#site \"www\" {\n#\tstaging = \"/srv/staging/www\"\n#\ttarget \"production\" {\n#\t\tkit = \"local\"\n"
		               "#\t\tplace = \"/srv/www\"\n#\t}\n#}\n");
	}
	e = file_write(fd, CONF_FILE, buf_text(&text), text.len, 0644);
out:
	buf_release(&text);
	return e;
}

static enum err write_admins(const struct init_options *o, int fd)
{
	struct buf text = BUF_INIT(65536);
	enum err e = ERR_OK;

	for (size_t i = 0; i < o->n_admins; i++) {
		if (!principal_valid(o->admins[i])) {
			e = err_set(ERR_INPUT, "--admin %s: not a user with his provider, such as unix:alice", o->admins[i]);
			goto out;
		}
		buf_fmt(&text, "%s\n", o->admins[i]);
	}
	if (o->n_admins)
		e = file_write(fd, FIRST_ADMINS, buf_text(&text), text.len, 0600);
out:
	buf_release(&text);
	return e;
}

static enum err fill(void *arg, int fd)
{
	const struct init_options *o = arg;
	enum err e = write_admins(o, fd);

	FAILPOINT_OR(e, init_admins);
	/* One that is there is of an attempt that was cut short. */
	return e ? e : write_conf(o, fd);
}

static enum err make(const struct init_options *o)
{
	union { const struct init_options *in; void *out; } arg = { .in = o };
	struct conf *conf = NULL;
	char *file = mem_printf("%s/" CONF_FILE, o->data);
	enum err e;

	(void)umask(022);
	e = datadir_init(o->data, fill, arg.out);
	/* What was given on the command line is judged by the one parser there is. */
	if (!e)
		e = conf_load(&conf, file);
	conf_free(conf);
	free(file);
	return e;
}

/* As root: the directory is made for another user, by him. */
static enum err make_as(const struct init_options *o)
{
	struct passwd pw, *found = NULL;
	char text[16384];
	int status, fd;
	pid_t child;
	enum err e;

	(void)getpwnam_r(o->user, &pw, text, sizeof(text), &found);
	if (!found)
		return err_set(ERR_INPUT, "There is no user %s on this machine: make one, for instance with "
		                          "useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin %s", o->user, o->user);
	e = file_mkdirs(o->data, 0711);
	if (e)
		return e;
	fd = open(o->data, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(ERR_FAILED, "%s", o->data);
	if (sys_fchown(fd, pw.pw_uid, pw.pw_gid))
		e = err_sys(ERR_FAILED, "%s", o->data);
	(void)close(fd);
	if (e)
		return e;
	child = fork();
	if (child < 0)
		return err_sys(ERR_FAILED, "fork");
	if (!child) {
		e = daemon_become(o->user);
		if (!e)
			e = make(o);
		if (e)
			fprintf(stderr, "drydockd: %s\n", err_text());
		_exit(e);
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(ERR_FAILED, "waitpid");
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return ERR_OK;
	/* The child has said why. */
	return err_set(WIFEXITED(status) ? (enum err)WEXITSTATUS(status) : ERR_FAILED, "%s was not made a data directory", o->data);
}

enum err daemon_init(const struct init_options *o)
{
	if (o->site && !site_name_valid(o->site))
		return err_set(ERR_INPUT, "--site %s: not a valid name of a site", o->site);
	if (!o->site != !o->staging)
		return err_set(ERR_INPUT, "--site and --staging belong together");
	if (o->production && !o->site)
		return err_set(ERR_INPUT, "--production needs --site and --staging");
	if (geteuid() == 0) {
		if (!o->user)
			return err_set(ERR_INPUT, "As root, say with --user for which UNIX user the data directory is: the daemon is never root");
		return make_as(o);
	}
	if (o->user)
		return err_set(ERR_INPUT, "--user is for root only: the daemon runs as whoever starts it");
	return make(o);
}
