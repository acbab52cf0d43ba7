/*
 * send-notice: brings one message to an SMTP server or a webhook. A program of its own, so that what comes back from
 * outside is parsed apart from the daemon, which does not load libcurl either.
 *
 * Standard input: one JSON object. url; text; ca_file ("": the system's); for smtp and smtps: from, to (a list), user and password ("" for none); for
 * http and https: signature (hex, or absent). Ends with 0, or with 1 and a sentence on standard output.
 *
 * smtp:// to another machine has to offer STARTTLS, so that neither text nor password crosses a network in the clear; to
 * this machine it is not asked for, since a mail server's own certificate is seldom one that anybody can check. Redirections are not followed: the address is what the administrator wrote.
 */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"

#define REQUEST_LIMIT (2u * 1024 * 1024)
#define SECONDS 40L

struct upload {
	const char *p;
	size_t left;
};

static size_t give(char *to, size_t size, size_t n, void *arg)
{
	struct upload *u = arg;
	size_t k = size * n < u->left ? size * n : u->left;

	memcpy(to, u->p, k);
	u->p += k;
	u->left -= k;
	return k;
}

/* What a webhook answers is of no interest. */
static size_t drop(char *p, size_t size, size_t n, void *arg)
{
	(void)p;
	(void)arg;
	return size * n;
}

static bool this_machine(const char *url)
{
	static const char *const names[] = { "localhost", "127.0.0.1", "[::1]" };
	const char *host = strstr(url, "://") + 3;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		const size_t n = strlen(names[i]);

		if (!strncmp(host, names[i], n) && (!host[n] || host[n] == ':' || host[n] == '/'))
			return true;
	}
	return false;
}

static void set_mail(CURL *h, const json_t *request, const char *url, struct upload *body, struct curl_slist **list, bool *bad)
{
	const char *user = json_get_str(request, "user", bad), *password = json_get_str(request, "password", bad);
	json_t *to = json_get_list(request, "to", bad), *one;
	size_t i;

	json_array_foreach(to, i, one)
		*list = curl_slist_append(*list, json_string_value(one));
	curl_easy_setopt(h, CURLOPT_MAIL_FROM, json_get_str(request, "from", bad));
	curl_easy_setopt(h, CURLOPT_MAIL_RCPT, *list);
	curl_easy_setopt(h, CURLOPT_USE_SSL, (long)(this_machine(url) ? CURLUSESSL_NONE : CURLUSESSL_ALL));
	if (user && *user) {
		curl_easy_setopt(h, CURLOPT_USERNAME, user);
		curl_easy_setopt(h, CURLOPT_PASSWORD, password);
	}
	curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(h, CURLOPT_READFUNCTION, give);
	curl_easy_setopt(h, CURLOPT_READDATA, body);
}

static void set_webhook(CURL *h, const json_t *request, const struct upload *body, struct curl_slist **list, bool *bad)
{
	const char *signature = json_get_str(request, "signature", bad);
	char line[128];

	*list = curl_slist_append(*list, "Content-Type: application/json");
	*list = curl_slist_append(*list, "Expect:");
	if (signature) {
		snprintf(line, sizeof(line), "X-DryDock-Signature: sha256=%s", signature);
		*list = curl_slist_append(*list, line);
	}
	curl_easy_setopt(h, CURLOPT_HTTPHEADER, *list);
	curl_easy_setopt(h, CURLOPT_USERAGENT, "DryDock");
	curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->left);
	curl_easy_setopt(h, CURLOPT_POSTFIELDS, body->p);
}

static int perform(CURL *h, bool mail)
{
	char why[CURL_ERROR_SIZE] = "";
	CURLcode code;
	long status = 0;

	curl_easy_setopt(h, CURLOPT_ERRORBUFFER, why);
	code = curl_easy_perform(h);
	curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_setopt(h, CURLOPT_ERRORBUFFER, NULL);
	if (code != CURLE_OK) {
		if (mail && status >= 400)
			printf("The mail server answered %ld: %s\n", status, *why ? why : curl_easy_strerror(code));
		else
			printf("%s\n", *why ? why : curl_easy_strerror(code));
		return 1;
	}
	if (!mail && (status < 200 || status > 299)) {
		printf("The webhook answered with status %ld%s\n", status, status >= 300 && status < 400 ? ": redirections are not followed" : "");
		return 1;
	}
	return 0;
}

static int deliver(const json_t *request)
{
	bool bad = false;
	const char *url = json_get_str(request, "url", &bad), *text = json_get_str(request, "text", &bad);
	const char *ca_file = json_get_str(request, "ca_file", &bad);
	struct upload body = { text, text ? strlen(text) : 0 };
	struct curl_slist *list = NULL;
	CURL *h = NULL;
	int rc = 1;

	if (bad || !url || !text || !strstr(url, "://")) {
		puts("send-notice was asked for nothing that it knows");
		return 1;
	}
	const bool mail = !strncmp(url, "smtp", 4);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) || !(h = curl_easy_init())) {
		puts("libcurl cannot be started");
		return 1;
	}
	curl_easy_setopt(h, CURLOPT_URL, url);
	curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, mail ? "smtp,smtps" : "http,https");
	curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(h, CURLOPT_PROXY, "");
	curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, SECONDS / 2);
	curl_easy_setopt(h, CURLOPT_TIMEOUT, SECONDS);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, drop);
	if (ca_file && *ca_file)
		curl_easy_setopt(h, CURLOPT_CAINFO, ca_file);
	if (mail)
		set_mail(h, request, url, &body, &list, &bad);
	else
		set_webhook(h, request, &body, &list, &bad);
	if (bad)
		puts("send-notice was asked for nothing that it knows");
	else
		rc = perform(h, mail);
	curl_slist_free_all(list);
	curl_easy_cleanup(h);
	curl_global_cleanup();
	return rc;
}

int main(void)
{
	struct buf in = BUF_INIT(REQUEST_LIMIT);
	json_t *request = NULL;
	int rc = 1;

	if (buf_read_fd(&in, STDIN_FILENO) || json_parse(&request, buf_text(&in), in.len))
		printf("send-notice takes one JSON object on standard input: %s\n", err_text());
	else
		rc = deliver(request);
	json_decref(request);
	if (in.p)
		explicit_bzero(in.p, in.len);
	buf_release(&in);
	return fflush(stdout) ? 1 : rc;
}
