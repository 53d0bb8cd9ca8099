// Reads flowcharts, each a JSON string on one line, and says on one line what mermaid understood.
import { createInterface } from "node:readline";
import { JSDOM } from "jsdom";

const { window } = new JSDOM("<body></body>");
globalThis.window = window;
globalThis.document = window.document;
const { default: mermaid } = await import("mermaid");

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const text = JSON.parse(line);
    await mermaid.parse(text);
    const { db } = await mermaid.mermaidAPI.getDiagramFromText(text);
    answer = {
      labels: Object.fromEntries([...db.getVertices().values()].map((v) => [v.id, v.text])),
      classes: Object.fromEntries([...db.getVertices().values()].map((v) => [v.id, v.classes])),
      edges: db.getEdges().map((e) => [e.start, e.end, e.type, e.stroke, e.text]),
      groups: Object.fromEntries(db.getSubGraphs().map((g) => [g.id, g.title])),
    };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
