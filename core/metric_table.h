/* core/metric_table.h - every metric, once
 *
 * Purpose   this list makes the fields of struct metrics, the OpenMetrics text and doc/METRICS.md
 *           (run the metrics_md target after a change; a test compares). A new metric is one row;
 *           a new label value is one word in its list.
 * Columns   kind     COUNTER, GAUGE or HISTOGRAM
 *           name     the field; outside it is freshet_NAME, counters with _total after it. The name
 *                    ends in its unit if it has one.
 *           unit     NONE, BYTES, SECONDS (kept in microseconds), RATIO (kept in millionths)
 *           labels   as many as the M number says, from METRIC_LABELS
 *           help     one sentence
 * Tests     tests/unit/test_metric.c
 */
#ifndef CORE_METRIC_TABLE_H
#define CORE_METRIC_TABLE_H

/* Label lists: the enum constant is METRIC_<LIST>_<NAME>, METRIC_<LIST>_N is their number. */
#define METRIC_LIST_TIER(X, L) X(L, EDGE, "edge") X(L, ORIGIN, "origin")
#define METRIC_LIST_CACHE(X, L) \
    X(L, HIT, "hit")            \
    X(L, HIT_WAIT, "hit_wait")  \
    X(L, MISS, "miss")          \
    X(L, STALE, "stale")        \
    X(L, NEGATIVE, "negative")
#define METRIC_LIST_FILL_ERROR(X, L) \
    X(L, CONNECT, "connect")         \
    X(L, TIMEOUT, "timeout")         \
    X(L, STATUS, "status")           \
    X(L, SHORT, "short")             \
    X(L, RESET, "reset")             \
    X(L, MEMORY, "memory")           \
    X(L, SIZE, "size")               \
    X(L, PROTOCOL, "protocol")
#define METRIC_LIST_EVICT(X, L)  \
    X(L, WINDOW, "window")       \
    X(L, CAPACITY, "capacity")   \
    X(L, EXPIRED, "expired")     \
    X(L, PURGE, "purge")         \
    X(L, NEGATIVE, "negative")   \
    X(L, SESSION, "session_end") \
    X(L, FAILED, "failed")
#define METRIC_LIST_MEMORY(X, L)   \
    X(L, CHUNK, "chunk")           \
    X(L, OBJECT, "object")         \
    X(L, VIEW, "view")             \
    X(L, DOCUMENT, "document")     \
    X(L, CONNECTION, "connection") \
    X(L, REQUEST, "request")       \
    X(L, SPILL, "spill")           \
    X(L, TLS, "tls")
#define METRIC_LIST_UPSTREAM(X, L) \
    X(L, 2XX, "2xx")               \
    X(L, 3XX, "3xx")               \
    X(L, 4XX, "4xx")               \
    X(L, 5XX, "5xx")               \
    X(L, ERROR, "error")
#define METRIC_LIST_PROTO(X, L) X(L, H1, "h1") X(L, H2, "h2")
/* Numbers first: metric_code_of() is made from these. */
#define METRIC_HTTP_CODES(X, L) \
    X(L, 200, "200")            \
    X(L, 204, "204")            \
    X(L, 206, "206")            \
    X(L, 301, "301")            \
    X(L, 302, "302")            \
    X(L, 304, "304")            \
    X(L, 400, "400")            \
    X(L, 403, "403")            \
    X(L, 404, "404")            \
    X(L, 405, "405")            \
    X(L, 408, "408")            \
    X(L, 410, "410")            \
    X(L, 412, "412")            \
    X(L, 413, "413")            \
    X(L, 414, "414")            \
    X(L, 416, "416")            \
    X(L, 421, "421")            \
    X(L, 429, "429")            \
    X(L, 431, "431")            \
    X(L, 500, "500")            \
    X(L, 501, "501")            \
    X(L, 502, "502")            \
    X(L, 503, "503")            \
    X(L, 504, "504")            \
    X(L, 505, "505")
#define METRIC_LIST_CODE(X, L) METRIC_HTTP_CODES(X, L) X(L, OTHER, "other")
#define METRIC_LIST_OBJECT(X, L) \
    X(L, MANIFEST, "manifest")   \
    X(L, INIT, "init")           \
    X(L, SEGMENT, "segment")     \
    X(L, THUMB, "thumb")         \
    X(L, TIME, "time")           \
    X(L, PROXY, "proxy")         \
    X(L, ADMIN, "admin")         \
    X(L, OTHER, "other")
#define METRIC_LIST_CONN(X, L) X(L, IDLE, "idle") X(L, ACTIVE, "active")
#define METRIC_LIST_CLOSE(X, L)                \
    X(L, DONE, "done")                         \
    X(L, PEER_FIN, "peer_fin")                 \
    X(L, PEER_RESET, "peer_reset")             \
    X(L, KEEPALIVE, "keepalive")               \
    X(L, HEAD_TIMEOUT, "head_timeout")         \
    X(L, SLOW_READER, "slow_reader")           \
    X(L, STALL, "stall")                       \
    X(L, BAD_REQUEST, "bad_request")           \
    X(L, BODY_REFUSED, "body_refused")         \
    X(L, HEAD_TOO_LARGE, "head_too_large")     \
    X(L, REQUEST_LIMIT, "request_limit")       \
    X(L, H2_RAPID_RESET, "h2_rapid_reset")     \
    X(L, H2_FORCED_RESETS, "h2_forced_resets") \
    X(L, H2_CONTROL_FLOOD, "h2_control_flood") \
    X(L, H2_CONTINUATION, "h2_continuation")   \
    X(L, H2_PROTOCOL, "h2_protocol")           \
    X(L, TLS_HANDSHAKE, "tls_handshake")       \
    X(L, TLS_ERROR, "tls_error")               \
    X(L, OVER_LIMIT, "over_limit")             \
    X(L, MEMORY, "memory")                     \
    X(L, SHUTDOWN, "shutdown")                 \
    X(L, RELOAD, "reload")                     \
    X(L, UPSTREAM_BROKEN, "upstream_broken")
#define METRIC_LIST_RESET(X, L)              \
    X(L, SLOW_READER, "slow_reader")         \
    X(L, STALL, "stall")                     \
    X(L, UPSTREAM_BROKEN, "upstream_broken") \
    X(L, REFUSED, "refused")                 \
    X(L, BAD_REQUEST, "bad_request")         \
    X(L, CLIENT, "client")
#define METRIC_LIST_TLS(X, L) X(L, OK, "ok") X(L, FAILED, "failed") X(L, TIMEOUT, "timeout")
#define METRIC_LIST_RESUMED(X, L) X(L, NO, "no") X(L, YES, "yes")
#define METRIC_LIST_RELOAD(X, L) X(L, OK, "ok") X(L, FAILED, "failed")
#define METRIC_LIST_LIMIT(X, L)                        \
    X(L, CONNECTIONS, "connections")                   \
    X(L, PER_ADDRESS, "per_address")                   \
    X(L, HELD_PER_STREAM, "held_per_stream")           \
    X(L, HELD_PER_ADDRESS, "held_per_address")         \
    X(L, PENDING_LOOKUPS, "pending_lookups")           \
    X(L, OBJECT_BYTES, "object_bytes")                 \
    X(L, MEMORY, "memory")                             \
    X(L, UPSTREAM_CONNECTIONS, "upstream_connections") \
    X(L, TIER_CONNECTIONS, "tier_connections")         \
    X(L, SUBSCRIPTIONS, "subscriptions")               \
    X(L, INGEST_PER_ADDRESS, "ingest_per_address")     \
    X(L, INGEST_UNPUBLISHED, "ingest_unpublished")     \
    X(L, INGEST_STREAMS, "ingest_streams")

#define METRIC_LIST_INGEST_CLOSE(X, L)           \
    X(L, ENDED, "ended")                         \
    X(L, PEER_FIN, "peer_fin")                   \
    X(L, PEER_RESET, "peer_reset")               \
    X(L, TLS_HANDSHAKE, "tls_handshake")         \
    X(L, TLS_ERROR, "tls_error")                 \
    X(L, HANDSHAKE_TIMEOUT, "handshake_timeout") \
    X(L, HTTP, "http")                           \
    X(L, TLS, "tls")                             \
    X(L, RTMPE, "rtmpe")                         \
    X(L, VERSION, "version")                     \
    X(L, CHUNK_HEADER, "chunk_header")           \
    X(L, CHUNK_IN_MESSAGE, "chunk_in_message")   \
    X(L, CHUNK_STREAMS, "chunk_streams")         \
    X(L, CHUNK_SIZE, "chunk_size")               \
    X(L, MESSAGE_SIZE, "message_size")           \
    X(L, MESSAGE_MEMORY, "message_memory")       \
    X(L, CONTROL, "control")                     \
    X(L, AGGREGATE, "aggregate")                 \
    X(L, AMF, "amf")                             \
    X(L, AMF_LIMIT, "amf_limit")                 \
    X(L, COMMAND, "command")                     \
    X(L, COMMAND_RATE, "command_rate")           \
    X(L, CONTROL_QUEUE, "control_queue")         \
    X(L, NAME, "name")                           \
    X(L, APP, "app")                             \
    X(L, AUTH, "auth")                           \
    X(L, BUSY, "busy")                           \
    X(L, PUBLISH_TIMEOUT, "publish_timeout")     \
    X(L, IDLE, "idle")                           \
    X(L, CODEC, "codec")                         \
    X(L, CODEC_CONFIG, "codec_config")           \
    X(L, TIMESTAMPS, "timestamps")               \
    X(L, REPLACED, "replaced")                   \
    X(L, KICKED, "kicked")                       \
    X(L, QUARANTINE, "quarantine")               \
    X(L, UNAVAILABLE, "unavailable")             \
    X(L, MEMORY, "memory")                       \
    X(L, SHUTDOWN, "shutdown")
#define METRIC_LIST_FAULT(X, L) \
    X(L, NOBODY, "nobody")      \
    X(L, PEER, "peer")          \
    X(L, POLICY, "policy")      \
    X(L, US, "us")              \
    X(L, OPERATOR, "operator")
#define METRIC_LIST_PLAY(X, L)   \
    X(L, ACCEPTED, "accepted")   \
    X(L, MISSING, "missing")     \
    X(L, MALFORMED, "malformed") \
    X(L, KID, "kid")             \
    X(L, SIGNATURE, "signature") \
    X(L, EXPIRED, "expired")
#define METRIC_LIST_AUTH(X, L)   \
    X(L, OK, "ok")               \
    X(L, NAME, "name")           \
    X(L, APP, "app")             \
    X(L, UNSIGNED, "unsigned")   \
    X(L, KID, "kid")             \
    X(L, SIGNATURE, "signature") \
    X(L, PERMANENT, "permanent") \
    X(L, EXPIRED, "expired")
#define METRIC_LIST_WORKER(X, L) X(L, UP, "up") X(L, DOWN, "down")
#define METRIC_LIST_RESTART(X, L) X(L, CRASH, "crash") X(L, EXIT, "exit") X(L, HUNG, "hung")
#define METRIC_LIST_RECONNECT(X, L) \
    X(L, RESUMED, "resumed")        \
    X(L, MOVED, "moved")            \
    X(L, GAVE_UP, "gave_up")
#define METRIC_LIST_UPLINK_FAILURE(X, L) \
    X(L, LOST, "lost")                   \
    X(L, SILENT, "silent")               \
    X(L, FULL, "full")                   \
    X(L, FENCED, "fenced")               \
    X(L, REFUSED, "refused")             \
    X(L, ELSEWHERE, "elsewhere")         \
    X(L, DRAINING, "draining")           \
    X(L, PROTOCOL, "protocol")
#define METRIC_LIST_MEDIA(X, L) X(L, AUDIO, "audio") X(L, VIDEO, "video") X(L, DATA, "data")

#define METRIC_LIST_RESYNC(X, L) X(L, PARTIAL, "partial") X(L, FULL, "full")

/*    enum metric_x, list, label name */
#define METRIC_LABELS(L)                        \
    L(tier, TIER, "tier")                       \
    L(cache, CACHE, "result")                   \
    L(fill_error, FILL_ERROR, "reason")         \
    L(evict, EVICT, "reason")                   \
    L(memory, MEMORY, "kind")                   \
    L(upstream, UPSTREAM, "code")               \
    L(proto, PROTO, "proto")                    \
    L(code, CODE, "code")                       \
    L(object, OBJECT, "object")                 \
    L(conn, CONN, "state")                      \
    L(close, CLOSE, "reason")                   \
    L(reset, RESET, "reason")                   \
    L(tls, TLS, "result")                       \
    L(resumed, RESUMED, "resumed")              \
    L(reload, RELOAD, "result")                 \
    L(resync, RESYNC, "kind")                   \
    L(limit, LIMIT, "limit")                    \
    L(ingest_close, INGEST_CLOSE, "reason")     \
    L(fault, FAULT, "fault")                    \
    L(media, MEDIA, "media")                    \
    L(reconnect, RECONNECT, "result")           \
    L(uplink_failure, UPLINK_FAILURE, "reason") \
    L(play, PLAY, "result")                     \
    L(auth, AUTH, "result")                     \
    L(worker, WORKER, "state")                  \
    L(restart, RESTART, "reason")

/* clang-format off */
#define METRIC_TABLE(M0, M1, M2, M3) \
    M2(COUNTER, cache_requests, NONE, TIER, CACHE, "Lookups in the object store, by how they were answered.") \
    M1(COUNTER, cache_fills, NONE, TIER, "Objects filled to the end: exactly one per object; documents are not counted.") \
    M1(COUNTER, cache_fill_errors, NONE, FILL_ERROR, "Fills that did not reach the end, by reason.") \
    M0(GAUGE, cache_bytes, BYTES, "Body bytes held by the object store.") \
    M0(GAUGE, cache_objects, NONE, "Objects in the index.") \
    M1(COUNTER, cache_evictions, NONE, EVICT, "Objects taken out of the index, by reason.") \
    M1(GAUGE, memory_bytes, BYTES, MEMORY, "Memory that counts against memory_limit_bytes, by what holds it.") \
    M0(GAUGE, memory_limit_bytes, BYTES, "The configured limit of memory_bytes in all.") \
    M1(COUNTER, upstream_requests, NONE, UPSTREAM, "Requests sent upstream, by class of answer.") \
    M0(GAUGE, push_subscriptions, NONE, "Streams that are followed at an upstream.") \
    M1(COUNTER, push_resync, NONE, RESYNC, "Subscriptions that broke off and went on where they were (partial), or were told everything again (full).") \
    M0(HISTOGRAM, push_lag_seconds, SECONDS, "From an announcement or document at its home to its arrival here, by the home's clock.") \
    M0(GAUGE, push_subscribers, NONE, "Subscriptions of edges that are served from here.") \
    M3(COUNTER, http_requests, NONE, PROTO, CODE, OBJECT, "Requests answered, by status code and kind of object.") \
    M0(COUNTER, http_response_bytes, BYTES, "Bytes of responses written to clients, with their framing.") \
    M0(HISTOGRAM, http_ttfb_seconds, SECONDS, "Time from the end of a request head to the first byte of its response.") \
    M2(GAUGE, http_connections, NONE, PROTO, CONN, "Open client connections; active ones have a request in hand.") \
    M1(COUNTER, http_connections_opened, NONE, PROTO, "Client connections accepted, by the protocol they came to speak.") \
    M0(GAUGE, viewers, NONE, "Connections over which a manifest or a segment of a stream was answered in the last ten seconds.") \
    M1(COUNTER, http_closes, NONE, CLOSE, "Client connections closed, by the first reason.") \
    M1(COUNTER, http_streams_reset, NONE, RESET, "HTTP/2 streams that ended by RST_STREAM, by reason.") \
    M2(COUNTER, tls_handshakes, NONE, TLS, RESUMED, "TLS handshakes with clients that came to an end.") \
    M1(COUNTER, play_auth, NONE, PLAY, "Requests for streams of signed applications, by what their token was good for.") \
    M0(GAUGE, ingest_connections, NONE, "Open RTMP connections.") \
    M0(GAUGE, ingest_publishers, NONE, "Of those, the ones that publish.") \
    M0(GAUGE, ingest_memory_bytes, BYTES, "Memory of RTMP connections, without TLS.") \
    M0(COUNTER, ingest_connections_opened, NONE, "RTMP connections accepted.") \
    M2(COUNTER, ingest_closes, NONE, FAULT, INGEST_CLOSE, "RTMP connections closed, by whose fault it was and the first reason.") \
    M0(COUNTER, ingest_bytes, BYTES, "Bytes received from broadcasters, without TLS.") \
    M1(COUNTER, ingest_frames, NONE, MEDIA, "Messages of media and data taken from broadcasters.") \
    M1(COUNTER, ingest_frames_dropped, NONE, MEDIA, "Messages of media and data that were of no use: broken, empty, unknown, before a configuration, too late after a silence.") \
    M0(COUNTER, ingest_timestamps_repaired, NONE, "Messages that came late and were moved on.") \
    M0(COUNTER, ingest_timelines, NONE, "Jumps of a broadcaster's clock.") \
    M0(GAUGE, ingest_spool_bytes, BYTES, "Tags of relayed publishers that are kept for their next home.") \
    M0(GAUGE, home_spool_bytes, BYTES, "Tags of streams whose home is here that are kept for their next worker.") \
    M0(COUNTER, ingest_spool_lost, NONE, "Tags that the limits of the spool threw out while they were still needed.") \
    M1(COUNTER, ingest_reconnects, NONE, RECONNECT, "Relayed publishers that had lost their home, by where they went on.") \
    M1(COUNTER, ingest_uplink_failures, NONE, UPLINK_FAILURE, "Attempts to reach a home, or to stay with it, that came to nothing.") \
    M1(COUNTER, ingest_auth, NONE, AUTH, "Attempts to publish, by what the key was good for.") \
    M1(GAUGE, encoder_workers, NONE, WORKER, "Encoder workers, by whether they run or wait to be started again.") \
    M1(COUNTER, encoder_restarts, NONE, RESTART, "Encoder workers that ended and were started again: by a signal, by themselves, or because they hung and were killed.") \
    M0(GAUGE, relay_exchanges, NONE, "Publishers at POPs whose tags come to this home.") \
    M0(COUNTER, relay_tags_repeated, NONE, "Tags that a POP sent again and that had come already.") \
    M0(COUNTER, encoder_records_ignored, NONE, "Records of workers that did not fit any more, or at all.") \
    M0(COUNTER, encoder_frames_dropped, NONE, "Frames that workers could not use: broken, or of no use before a key frame.") \
    M0(COUNTER, encoder_quarantines, NONE, "Streams refused for a while, because workers have crashed on them.") \
    M0(COUNTER, fencing_rejections, NONE, "Publishers that were refused because somebody newer has claimed their stream.") \
    M1(COUNTER, config_reload, NONE, RELOAD, "Attempts to load a new configuration.") \
    M0(GAUGE, config_generation, NONE, "Generation of the configuration in force.") \
    M0(HISTOGRAM, loop_lag_seconds, SECONDS, "How late the tick of an event loop came, once a second: how long its turns are.") \
    M1(COUNTER, limit_hits, NONE, LIMIT, "Times that a limit refused something.") \
    M0(COUNTER, access_log_dropped, NONE, "Lines of the access log lost because its reader was too slow.") \
    M0(COUNTER, log_dropped, NONE, "Log lines lost because the reader of the log was too slow.")
/* clang-format on */

#endif
