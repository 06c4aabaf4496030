// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * life_overflow CONTROL - holds three instances opened with access mode 3, whose close only an inotify
 * event reports, and one opened as usual.
 *   ready 1: they are open
 *   go 1:    opens and closes the first two through io_uring, which no filter sees, until the event queue
 *            overflows; then closes all three
 *   ready 2: they are closed
 *   go 2:    the instance that was opened as usual still works
 */
#include "ring.h"
#include "control.h"

/* More than `fs.inotify.max_queued_events`; the kernel merges equal neighbours into one event. */
enum { EVENTS = 20000, UNTOLD = 3 };

int main(int argc, char **argv)
{
	volatile uint64_t *page = control_map(argc > 1 ? argv[1] : "");
	int objects[UNTOLD];
	uint64_t *area;
	char path[64];

	set_up();
	int kept = kcov_ready(KIT_WORDS, &area);
	for (int i = 0; i < UNTOLD; i++) {
		objects[i] = open(KCOV_DEVICE, O_ACCMODE | O_CLOEXEC);
		need(objects[i] >= 0, "open with access mode 3");
		need(!ioctl(objects[i], KCOV_INIT_TRACE, KIT_WORDS), "INIT_TRACE with access mode 3");
	}
	control_set(page, CONTROL_READY, 1);
	control_wait(page, 1);
	for (int i = 0; i < EVENTS; i++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", objects[i % 2]);
		int again = open_by_ring(path, O_RDONLY);
		need(again >= 0, "open by io_uring");
		close(again);
	}
	for (int i = 0; i < UNTOLD; i++)
		close(objects[i]);
	control_set(page, CONTROL_READY, 2);
	control_wait(page, 2);
	expect("ENABLE of the instance that is still open", outcome(ioctl(kept, KCOV_ENABLE, KCOV_TRACE_PC)), 0);
	expect("DISABLE", outcome(ioctl(kept, KCOV_DISABLE, 0)), 0);
	return verdict();
}
