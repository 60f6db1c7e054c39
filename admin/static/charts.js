// Draws every [data-chart] with uPlot from the JSON inside it.
"use strict";

const FORMATS = {
  money: (value) => "¥" + value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 }),
  count: (value) => value.toLocaleString("en"),
  share: (value) => (value * 100).toFixed(1) + "%",
};
const ZONE = "Asia/Shanghai";
// Hours with the day below where it changes; days by themselves.
const DAY = "\n{MM}-{DD}";
const TIMES = [
  [86400, "{MM}-{DD}", null, null, null, null, null, null, 1],
  [60, "{HH}:{mm}", DAY, null, DAY, null, null, null, 1],
];
const WHOLE = [1, 2, 5].flatMap((step) => [...Array(12).keys()].map((power) => step * 10 ** power)).sort((a, b) => a - b);

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function draw(place) {
  const data = JSON.parse(place.querySelector("script").textContent);
  const shown = data.series.map((series, index) => ({
    label: series.label,
    stroke: colour(`--chart-${index + 1}`),
    fill: data.series.length === 1 ? colour("--chart-fill") : undefined,
    width: 2,
    points: { show: data.x.length < 40 },
    value: (_plot, value) => (value === null ? "—" : FORMATS[series.kind || "count"](value)),
  }));
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  const kind = data.series[0].kind || "count";
  const plot = new uPlot({
    width: place.clientWidth,
    height: Number(place.dataset.height),
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), ZONE),
    cursor: { points: { size: 6 } },
    scales: { y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    axes: [{ ...axis, values: TIMES }, { ...axis, size: 70, incrs: kind === "count" ? WHOLE : undefined, values: (_plot, ticks) => ticks.map(FORMATS[kind]) }],
    series: [{ label: data.label || "", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }, ...shown],
  }, [data.x, ...data.series.map((series) => series.values)], place);
  new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: plot.height })).observe(place);
}

for (const place of document.querySelectorAll("[data-chart]")) draw(place);
