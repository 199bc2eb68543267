/** Serves the demo page with a model, on this machine only: AGEDETECT_MODEL=model.onnx npm run demo. */

import { createReadStream, existsSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { extname, join, normalize, resolve } from "node:path";

const ROOT = resolve(import.meta.dirname, "../..");
const TYPES: Record<string, string> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

function place(path: string, model: string): string {
  if (path === "/model.onnx" || path === "/model.onnx.json") return path.replace("/model.onnx", model);
  return join(ROOT, normalize(path === "/" ? "/demo/index.html" : path));
}

/** Resolves once it listens; port 0 is any free one. */
export async function serve(model: string, port = 0): Promise<{ server: Server; url: string }> {
  const server = createServer((request, response) => {
    const file = place(new URL(request.url ?? "/", "http://localhost").pathname, model);
    if (!existsSync(file)) return void response.writeHead(404).end();
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
    createReadStream(file).pipe(response);
  });
  await new Promise<void>((listening) => server.listen(port, "localhost", listening));
  const address = server.address();
  const chosen = typeof address === "object" && address ? address.port : port;
  return { server, url: `http://localhost:${chosen}/demo/index.html` };
}

if (process.argv[1] === import.meta.filename) {
  const model = process.env["AGEDETECT_MODEL"];
  if (!model) throw new Error("set AGEDETECT_MODEL to a model that agedetect-export wrote");
  console.log((await serve(model, 8000)).url);
}
