// Answers what the service answered: node bare.js SCRIPT PORT; the script is JSON, bodies are in base64.
const http = require("node:http");
const [script, port] = process.argv.slice(2);
const answers = new Map(Object.entries(JSON.parse(require("node:fs").readFileSync(script, "utf8"))));
for (const answer of answers.values()) answer.body = Buffer.from(answer.body, "base64");
http.createServer((request, response) => {
  const answer = answers.get(request.url);
  response.writeHead(answer.status, answer.headers);
  response.end(answer.body);
}).listen(Number(port), "127.0.0.1");
