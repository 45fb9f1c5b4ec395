# Varnish 6 or 7 as a cache in front of a gateway, for many viewers.
#
#   1. Write the gateway's address into the backend below.
#   2. varnishd -a :80 -f /etc/varnish/whipcast.vcl -s malloc,1G -p thread_pool_min=500
#
# All viewers who wait for one version of a playlist become one request at the
# gateway. docs/cdn.md says more, and how to see that it works.
vcl 4.1;

backend gateway {
    .host = "127.0.0.1";
    .port = "8080";
    .connect_timeout = 1s;
    # The gateway holds a request for three target durations at most: 6 s with
    # segments of 2 s. Stay well above.
    .first_byte_timeout = 30s;
    .between_bytes_timeout = 10s;
}

sub vcl_recv {
    # Pages, WHIP, WHEP and the API are not for caches. Preflights are answered by
    # the gateway, which knows whose pages may watch.
    if (req.url !~ "^/hls/" || (req.method != "GET" && req.method != "HEAD")) {
        return (pass);
    }
    # Who shows a token gets an answer of their own.
    if (req.http.Authorization || req.url ~ "[?&](access_)?token=") {
        return (pass);
    }
    # Nothing below /hls/ depends on cookies; the built-in rules would not cache.
    unset req.http.Cookie;

    # One question, one spelling, so that it is asked once. Media playlists know
    # three parameters; whatever else is in a query ends here.
    if (req.url ~ "^/hls/[^/?]+/[^?]+/index\.m3u8\?") {
        if (req.url ~ "[?&]_HLS_(msn|part)=(?![0-9]{1,19}(&|$))") {
            return (synth(400, "Malformed delivery directive"));
        }
        set req.http.X-Directives = "";
        if (req.url ~ "[?&]_HLS_msn=") {
            set req.http.X-Directives = regsub(req.url, "^.*[?&]_HLS_msn=0*([0-9]+).*$", "&_HLS_msn=\1");
        }
        if (req.url ~ "[?&]_HLS_part=") {
            set req.http.X-Directives = req.http.X-Directives + regsub(req.url, "^.*[?&]_HLS_part=0*([0-9]+).*$", "&_HLS_part=\1");
        }
        if (req.url ~ "[?&]_HLS_skip=(YES|v2)(&|$)") {
            set req.http.X-Directives = req.http.X-Directives + regsub(req.url, "^.*[?&]_HLS_skip=(YES|v2)(&.*)?$", "&_HLS_skip=\1");
        }
        set req.url = regsub(req.url, "\?.*$", "") + regsub(req.http.X-Directives, "^&", "?");
        unset req.http.X-Directives;
    } else {
        set req.url = regsub(req.url, "\?.*$", "");
    }
    return (hash);
}

# There is one gateway, whatever name it was called by.
sub vcl_hash {
    hash_data(req.url);
    return (lookup);
}

sub vcl_backend_response {
    if (bereq.url !~ "^/hls/" || bereq.uncacheable) {
        return (deliver);
    }
    # No grace: an old playlist that is given out while a new one is fetched shows
    # a live stream that stands still.
    set beresp.grace = 0s;
    set beresp.keep = 0s;
    if (beresp.status >= 400) {
        # For a second at most, and what depends on who asks not at all. The
        # built-in rules would remember the latter for two minutes.
        if (beresp.http.Cache-Control ~ "private|no-store") {
            set beresp.uncacheable = true;
        }
        set beresp.ttl = 1s;
        return (deliver);
    }
    # Media never changes, but room is finite. Whoever rewinds further fetches it
    # from the gateway again.
    if (bereq.url ~ "\.(m4s|mp4)$" && beresp.ttl > 10m) {
        set beresp.ttl = 10m;
    }
    # Playlists live as long as the gateway says. The built-in rules come next:
    # private answers are not kept.
}

# The gateway cannot be reached: nobody asks it again for a second.
sub vcl_backend_error {
    set beresp.ttl = 1s;
    set beresp.grace = 0s;
    set beresp.keep = 0s;
    set beresp.http.Cache-Control = "public, max-age=1";
    set beresp.http.Retry-After = "1";
    set beresp.http.Access-Control-Allow-Origin = "*"; # or players see no status
    set beresp.http.Content-Type = "text/plain; charset=utf-8";
    set beresp.body = "The gateway does not answer. Try again in a moment.";
    return (deliver);
}

sub vcl_synth {
    set resp.http.Cache-Control = "public, max-age=1";
    set resp.http.Access-Control-Allow-Origin = "*";
    set resp.http.Content-Type = "text/plain; charset=utf-8";
    set resp.body = resp.reason;
    return (deliver);
}

# For people who look; Varnish sets Age by itself.
sub vcl_deliver {
    if (obj.uncacheable) {
        set resp.http.X-Cache = "PASS";
    } elsif (obj.hits > 0) {
        set resp.http.X-Cache = "HIT";
    } else {
        set resp.http.X-Cache = "MISS";
    }
}
