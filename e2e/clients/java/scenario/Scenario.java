import static java.nio.charset.StandardCharsets.UTF_8;

import java.net.URI;
import java.net.URLDecoder;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.ApiResponse;
import org.openapitools.client.api.LocksApi;
import org.openapitools.client.api.NodesApi;
import org.openapitools.client.api.WatchApi;
import org.openapitools.client.model.AcquireSpec;
import org.openapitools.client.model.Detail;
import org.openapitools.client.model.Event;
import org.openapitools.client.model.EventBatch;
import org.openapitools.client.model.Grant;
import org.openapitools.client.model.LockState;
import org.openapitools.client.model.Node;
import org.openapitools.client.model.NodePage;
import org.openapitools.client.model.ReleaseRef;

/**
 * The scenario of doc.go with the client that openapi-generator makes.
 *
 * <p>Arguments: the URLs of three nodes.
 */
public class Scenario {
  static final String ROOT = "of java/50% off/größe, ключ";
  static final int WAIT = 20_000;

  final ExecutorService threads = Executors.newCachedThreadPool();
  final Endpoint a;
  final Endpoint b;
  final Endpoint c;

  /** The interfaces of one node; parameters that are not given are null in all of them. */
  static class Endpoint {
    final NodesApi nodes;
    final WatchApi watch;
    final LocksApi locks;

    Endpoint(String url) {
      URI uri = URI.create(url);
      ApiClient client = new ApiClient()
          .setScheme(uri.getScheme()).setHost(uri.getHost()).setPort(uri.getPort())
          .setObjectMapper(new RawBytesMapper())
          .setRequestInterceptor(request -> {
            // This generator writes spaces in paths as those of forms; a plus itself is %2B.
            String sent = request.build().uri().toString();
            int query = sent.contains("?") ? sent.indexOf('?') : sent.length();
            request.uri(URI.create(sent.substring(0, query).replace("+", "%20") + sent.substring(query)));
          });
      nodes = new NodesApi(client);
      watch = new WatchApi(client);
      locks = new LocksApi(client);
    }

    ApiResponse<Node> create(String path, boolean parents, String body) throws ApiException {
      return nodes.createNodeWithHttpInfo(path, null, null, null, parents, null, null, null, body.getBytes(UTF_8));
    }

    Node put(String path, String ifMatch, Long version, List<String> fence, String body) throws ApiException {
      return nodes.putNode(path, null, ifMatch, null, version, null, null, null, null, fence, null, body.getBytes(UTF_8));
    }

    String read(String path) throws ApiException {
      return new String(nodes.readNode(path, null, null, null, null, null, null), UTF_8);
    }

    EventBatch events(String path, String since, int waitMs) throws ApiException {
      return watch.watchNode(path, null, null, since, null, waitMs, null);
    }

    Grant acquire(String name, String owner, int waitMs) throws ApiException {
      return locks.acquireLock(name, null, null, null, new AcquireSpec().ttlMs(60_000L).owner(owner).waitMs(waitMs));
    }
  }

  Scenario(String[] urls) {
    a = new Endpoint(urls[0]);
    b = new Endpoint(urls[1]);
    c = new Endpoint(urls[2]);
  }

  static void check(boolean holds, Object seen) {
    if (!holds) {
      throw new AssertionError(String.valueOf(seen));
    }
  }

  static ApiException refused(int status, String code, Callable<?> call) throws Exception {
    Object answer;
    try {
      answer = call.call();
    } catch (ApiException refusal) {
      String header = refusal.getResponseHeaders().firstValue("Perch-Code").orElse("");
      check(refusal.getCode() == status && header.equals(code), refusal.getResponseBody());
      return refusal;
    }
    throw new AssertionError("not refused: " + answer);
  }

  static String header(ApiResponse<?> answer, String name) {
    return answer.getHeaders().entrySet().stream()
        .filter(header -> header.getKey().equalsIgnoreCase(name))
        .map(header -> header.getValue().get(0)).findFirst().orElse("");
  }

  void preconditions() throws Exception {
    ApiResponse<Node> made = a.create(ROOT, true, "eins ✓");
    check(made.getStatusCode() == 201 && made.getData().getPath().equals("/" + ROOT), made.getData());
    String location = URLDecoder.decode(header(made, "Location"), UTF_8);
    check(location.equals("/v1/nodes/" + ROOT), location);
    check(b.read(ROOT).equals("eins ✓"), b.read(ROOT));
    String etag = '"' + made.getData().getEtag() + '"';
    refused(409, "node_exists", () -> b.create(ROOT, false, ""));

    Node changed = c.put(ROOT, etag, null, null, "zwei");
    check(changed.getStat().getVersion() == 1, changed);
    refused(412, "etag_mismatch", () -> a.put(ROOT, etag, null, null, "drei"));
    b.put(ROOT, null, 1L, null, "vier");
    refused(412, "version_mismatch", () -> c.put(ROOT, null, 1L, null, "five"));
  }

  void children() throws Exception {
    String[] names = {"100%", "a b", "q?x=1&y#z", "zeiß", "日本"};
    for (String name : names) {
      b.create(ROOT + "/" + name, false, name);
      check(c.read(ROOT + "/" + name).equals(name), name);
    }
    NodePage page = c.nodes.listChildren(ROOT, null, List.of(Detail.TEXT), null, null, null, null, null, null, null);
    List<String> seen = page.getNodes().stream().map(child -> child.getPath() + "=" + child.getText()).sorted().toList();
    List<String> want = Arrays.stream(names).map(name -> "/" + ROOT + "/" + name + "=" + name).sorted().toList();
    check(seen.equals(want), seen);
  }

  void watching() throws Exception {
    String path = ROOT + "/100%";
    String cursor = a.events(path, null, 0).getCursor();
    Future<EventBatch> poll = threads.submit(() -> a.events(path, cursor, WAIT));
    String etag = header(b.nodes.readNodeWithHttpInfo(path, null, null, null, null, null, null), "ETag");
    Future<byte[]> read = threads.submit(() -> b.nodes.readNode(path, null, etag, WAIT, null, null, null));
    Node put = c.put(path, null, null, null, "seen");
    EventBatch batch = poll.get();
    check(batch.getEvents().size() == 1, batch);
    Event event = batch.getEvents().get(0);
    check(event.getType().equals("changed") && event.getPath().equals("/" + path), event);
    check(event.getZxid().equals(put.getStat().getMzxid()) && Long.parseLong(batch.getCursor()) >= event.getZxid(), batch);
    check(new String(read.get(), UTF_8).equals("seen"), "long read");
  }

  void locking() throws Exception {
    String name = "java:job.1";
    Grant grant = a.acquire(name, "größe", 0);
    ApiException problem = refused(409, "lock_held", () -> b.acquire(name, null, 0));
    check(problem.getResponseBody().contains("größe"), problem.getResponseBody());
    LockState state = c.locks.getLock(name, null, null, null, null, null, null);
    check(state.getHolders().get(0).getFencingToken().equals(grant.getFencingToken()), state);

    List<String> fence = List.of(name + ":" + grant.getFencingToken());
    c.put(ROOT, null, null, fence, "fenced");
    Future<Grant> waiting = threads.submit(() -> b.acquire(name, null, WAIT));
    c.locks.releaseLock(name, grant.getSessionToken(), null, new ReleaseRef());
    Grant second = waiting.get();
    check(second.getFencingToken() > grant.getFencingToken(), second);
    refused(412, "fence_stale", () -> a.put(ROOT, null, null, fence, "late"));
    a.locks.releaseLock(name, second.getSessionToken(), null, new ReleaseRef());
  }

  public static void main(String[] urls) throws Exception {
    Scenario s = new Scenario(urls);
    try {
      s.preconditions();
      s.children();
      s.watching();
      s.locking();
    } finally {
      s.threads.shutdown();
    }
  }
}
