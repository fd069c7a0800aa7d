// What Lambda's runtime does around a Node.js handler: one event a line in,
// one answer a line out.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { handler } = await import(pathToFileURL(process.argv[2]));
for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = await handler(JSON.parse(line), {});
  } catch (error) {
    answer = { status: "error", error: String(error.cause ?? error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
