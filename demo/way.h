/* SPDX-License-Identifier: MIT
 *
 * The ways to bring an image into memory.  Each runs in a child process, which may hang or die without harm to others.
 */
#ifndef VMF_DEMO_WAY_H
#define VMF_DEMO_WAY_H
#include "image.h"
#include <stdbool.h>
#include <stdint.h>

enum way_kind {
	WAY_READ,  /* read it all into anonymous memory, then begin */
	WAY_SERVED, /* anonymous memory whose faults a page server resolves */
	WAY_MAPPED /* MAP_PRIVATE of the file */
};
struct way {
	enum way_kind kind;
	const char *image, *socket;
	uint64_t bytes;
	bool breaks;       /* page by page; after the first half of them the image is cut there */
	unsigned seconds;  /* give up after so many */
};
enum way_end { WAY_DONE, WAY_HUNG, WAY_SIGBUS, WAY_FAILED };
/* What a child writes into shared memory as it goes. */
struct wayed {
	uint64_t first_ns, all_ns, faults, copied;
	uint64_t touched;                      /* pages, if it breaks */
	uint64_t found[PAGE_BROKEN + 1];       /* pages, by image_check() */
	uint64_t bad;                          /* the first that was not right */
	enum image_page bad_is;
};
enum way_end way_run(const struct way *, struct wayed *);

#endif
