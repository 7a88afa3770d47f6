// node search_site.js SITE QUERY ...: the page that the theme's search gives first, a line per query.
const fs = require("fs"), path = require("path");
const [site, ...queries] = process.argv.slice(2);
const folder = path.join(site, "assets/javascripts/workers");
const worker = fs.readdirSync(folder).find(name => /^search.*\.js$/.test(name));
const { config, docs } = JSON.parse(fs.readFileSync(path.join(site, "search/search_index.json")));
let listen, answer;
Object.assign(globalThis, { self: globalThis, importScripts() {}, postMessage(message) { answer = message; },
                            addEventListener(name, listener) { if (name === "message") listen = listener; } });
(0, eval)(fs.readFileSync(path.join(folder, worker), "utf8"));
(async () => {
  await listen({ data: { type: 0, data: { config, docs, options: { suggest: false } } } });
  for (const query of queries) {
    await listen({ data: { type: 2, data: query } });
    console.log(answer.data.items[0][0].location.split("#")[0]);
  }
})();
