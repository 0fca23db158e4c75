// Makes the dashboard live: server-sent events for what is now, uPlot for what was. The page is complete without it.

const root = document.querySelector(".operations");
const live = document.getElementById("live");
const announced = document.getElementById("announced");

// ---- what is now

const SILENT_MS = 15000; // three events
let source = null;
let again = 0;
let waitMs = 1000;
let heardAt = performance.now();

function tell(text, isOn) {
  if (live.textContent !== text) live.textContent = text;
  live.classList.toggle("is-on", isOn);
}

// A part that is replaced keeps what is open in it, how far its tables are scrolled and where the focus is.
function replace(place, html) {
  const open = [...place.querySelectorAll("details[open]")].map((one) => one.id);
  const scrolled = [...place.querySelectorAll(".rows")].map((one) => [one.id, one.scrollLeft]);
  const focused = place.contains(document.activeElement) ? document.activeElement.id : "";
  place.innerHTML = html;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  for (const [id, left] of scrolled) document.getElementById(id)?.scrollTo({ left, behavior: "instant" });
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function show(sections) {
  for (const [name, html] of Object.entries(sections)) {
    const place = document.querySelector(`[data-section="${name}"]`);
    if (place) replace(place, html);
  }
  announce(document.querySelector(".state h1").textContent);
}

function announce(headline) {
  if (announced.dataset.said && announced.dataset.said !== headline) announced.textContent = headline;
  announced.dataset.said = headline;
  document.title = `${headline} · Operations · CodyVerse`;
}

function connect() {
  clearTimeout(again);
  if (source || document.hidden) return;
  source = new EventSource(root.dataset.live);
  source.addEventListener("sections", (event) => {
    waitMs = 1000;
    heardAt = performance.now();
    tell("Live", true);
    show(JSON.parse(event.data));
  });
  source.addEventListener("busy", () => tell("Not live: others are watching. Trying again soon", false));
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) return; // its minute is over, or the line broke: the browser connects again
    disconnect();
    waitMs = Math.min(waitMs * 2, 60000);
    tell(`Not live: trying again in ${waitMs / 1000} s`, false);
    again = setTimeout(connect, waitMs);
  };
}

function disconnect() {
  source?.close();
  source = null;
}

// A server that is gone is no error to the browser, which goes on trying.
setInterval(() => {
  if (source && performance.now() - heardAt > SILENT_MS) tell("Not live: no answer. Trying again", false);
}, 1000);

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return disconnect();
  heardAt = performance.now();
  connect();
  fetchPast();
});
addEventListener("pagehide", disconnect); // an open stream would keep the page out of the browser's back/forward cache
addEventListener("pageshow", connect);
announce(document.querySelector(".state h1").textContent);

// ---- what was

const formats = {
  number: (value) => (value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : short(value)),
  rate: (value) => `${formats.number(value)}/s`,
  percent: (value) => {
    if (value > 0 && value < 0.01) return "< 0.01 %";
    return value > 99.99 && value < 100 ? "> 99.99 %" : `${short(value)} %`;
  },
  milliseconds: (value) => {
    if (value >= 1000) return `${(value / 1000).toFixed(1)} s`;
    return `${value >= 10 ? Math.round(value) : short(value)} ms`;
  },
};

function short(value) {
  return value > 0 && value < 0.01 ? "< 0.01" : String(Number(value.toFixed(2)));
}

function read(format, value) {
  return value === null || value === undefined ? "–" : formats[format](value);
}

const MINUTE_S = 60;
const HISTORY_MS = 60000;
const HEIGHT = 150;
const drawn = new Map();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function time(at, past) {
  const date = new Date(at * 1000).toISOString();
  return past.step_s > MINUTE_S ? `${date.slice(0, 10)} ${date.slice(11, 16)} UTC` : `${date.slice(11, 16)} UTC`;
}

function reading(chart, number, value, more) {
  const span = document.createElement("span");
  span.className = `line-${number + 1}`;
  const strong = document.createElement("strong");
  strong.textContent = read(chart.format, value);
  span.append(`${chart.names[number]} `, strong, more);
  return span;
}

// What a chart says at one of its times.
function sayAt(chart, past, at) {
  const when = document.createElement("time");
  when.textContent = time(past.times[at], past);
  chart.figures.replaceChildren(when, ...chart.lines.map((line, number) => reading(chart, number, past.series[line][at], "")));
}

// What it says of all its time: the same as the server wrote, of the newest figures.
function sayNow(chart, past) {
  const known = chart.lines.map((line) => past.series[line].filter((value) => value !== null));
  if (!known.some((values) => values.length)) return;
  chart.figures.replaceChildren(
    ...chart.lines.map((line, number) => {
      const worst = known[number].length ? (chart.lowest ? Math.min : Math.max)(...known[number]) : null;
      const more = ` now, at the ${chart.lowest ? "least" : "most"} ${read(chart.format, worst)}`;
      return reading(chart, number, past.series[line].at(-1), more);
    }),
  );
}

function limitLine(limit) {
  return (plot) => {
    const y = Math.round(plot.valToPos(limit, "y", true)) + 0.5;
    plot.ctx.save();
    plot.ctx.strokeStyle = colour("--bad");
    plot.ctx.lineWidth = devicePixelRatio;
    plot.ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    plot.ctx.beginPath();
    plot.ctx.moveTo(plot.bbox.left, y);
    plot.ctx.lineTo(plot.bbox.left + plot.bbox.width, y);
    plot.ctx.stroke();
    plot.ctx.restore();
  };
}

function highest(chart, past) {
  if (chart.top) return chart.top;
  const values = chart.lines.flatMap((line) => past.series[line]).filter((value) => value !== null);
  return Math.max(chart.limit ?? 0, ...values) * 1.15 || 1;
}

function options(chart, past, width) {
  const axis = { stroke: colour("--soft"), font: "12px system-ui, sans-serif", ticks: { show: false } };
  const grid = { stroke: colour("--line"), width: 1 };
  const end = Date.now() / 1000;
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    padding: [8, 6, 0, 0],
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    cursor: { y: false, drag: { x: false, y: false }, sync: { key: "operations" }, points: { size: 7 } },
    scales: { x: { range: () => [Math.min(past.times[0], end - past.span_s), end] }, y: { range: () => [0, highest(chart, past)] } },
    axes: [
      { ...axis, grid: { show: false }, space: 70, size: 26, values: (plot, splits) => splits.map((at) => tick(at, past)) },
      { ...axis, grid, space: 34, size: 58, values: (plot, splits) => splits.map((value) => formats[chart.format](value)) },
    ],
    series: [
      {},
      ...chart.lines.map((line, number) => ({
        stroke: colour(`--line-${number + 1}`),
        width: 1.75,
        spanGaps: false,
        points: { show: (plot, series, from, to, gaps) => plot.data[0].length < 3, size: 5 },
      })),
    ],
    hooks: {
      draw: chart.limit === null ? [] : [limitLine(chart.limit)],
      setCursor: [(plot) => moved(chart, past, plot.cursor.idx ?? null)],
    },
  };
}

function tick(at, past) {
  const date = new Date(at * 1000).toISOString();
  return past.span_s > 2 * 86400 ? `${Number(date.slice(8, 10))}.${Number(date.slice(5, 7))}.` : date.slice(11, 16);
}

function moved(chart, past, at) {
  if (at === null) sayNow(chart, past);
  else sayAt(chart, past, at);
  chart.place.setAttribute("aria-valuenow", at ?? past.times.length - 1);
  chart.place.setAttribute("aria-valuetext", [...chart.figures.children].map((one) => one.textContent).join(", "));
}

// A chart is a slider in time, for the keyboard as for the pointer.
function steer(chart, past, plot) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -60, PageDown: 60, Home: -Infinity, End: Infinity };
  const last = past.times.length - 1;
  chart.place.onkeydown = (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    const at = Math.min(last, Math.max(0, (plot.cursor.idx ?? last) + steps[event.key]));
    plot.setCursor({ left: plot.valToPos(past.times[at], "x"), top: 0 });
  };
  chart.place.onblur = () => plot.setCursor({ left: -10, top: -10 });
  const attributes = { role: "slider", tabindex: 0, "aria-valuemin": 0, "aria-valuemax": last, "aria-labelledby": chart.label };
  for (const [name, value] of Object.entries(attributes)) chart.place.setAttribute(name, value);
}

function draw(figure, past) {
  const before = drawn.get(figure);
  const chart = before?.chart ?? {
    figures: figure.querySelector(".figures"),
    place: figure.querySelector(".plot"),
    label: figure.querySelector("h3").id,
    lines: figure.dataset.lines.split(" "),
    names: figure.dataset.names.split(","),
    format: figure.dataset.format,
    limit: "limit" in figure.dataset ? Number(figure.dataset.limit) : null,
    top: Number(figure.dataset.top ?? 0),
    lowest: "lowest" in figure.dataset,
  };
  if (document.activeElement === chart.place) return; // somebody is reading it
  before?.plot.destroy();
  chart.place.replaceChildren();
  const data = [past.times, ...chart.lines.map((line) => past.series[line])];
  const plot = new uPlot(options(chart, past, chart.place.clientWidth), data, chart.place);
  steer(chart, past, plot);
  moved(chart, past, null);
  drawn.set(figure, { chart, plot });
}

let past = null;

function drawAll() {
  if (!past?.times.length) return; // what the server drew says that there is nothing
  for (const figure of document.querySelectorAll(".chart")) draw(figure, past);
}

async function fetchPast() {
  if (document.hidden) return;
  try {
    const answer = await fetch(root.dataset.history);
    if (!answer.ok) return;
    past = await answer.json();
    drawAll();
  } catch {
    // The line is broken, which the live part tells; the charts stay as they are.
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
new ResizeObserver(() => {
  for (const { chart, plot } of drawn.values()) plot.setSize({ width: chart.place.clientWidth, height: HEIGHT });
}).observe(document.querySelector(".charts"));
setInterval(fetchPast, HISTORY_MS);
fetchPast();
