/*
 * mime: the media type of a file by the end of its name. Everything goes out with nosniff, so that the table decides.
 */
#ifndef DRYDOCK_WEB_MIME_H
#define DRYDOCK_WEB_MIME_H

/* With "; charset=utf-8" where it is text; "application/octet-stream" for what is not known. */
const char *mime_type(const char *name);

#endif
