/*
 * Stands for libgupnp-igd, which opens ports in home routers. Debian 12's whip-client
 * uses libsoup 2 and ends at once, because the library uses libsoup 3, which does not
 * go with it. libnice does without if there is no thread.
 */
#include <stddef.h>

void *gupnp_simple_igd_thread_new(void) { return NULL; }
size_t gupnp_simple_igd_get_type(void) { return 0; }
void gupnp_simple_igd_add_port(void) {}
void gupnp_simple_igd_remove_port_local(void) {}
