// Starts Swagger UI. A file of its own, because the page's Content-Security-Policy forbids scripts inside the page.
const place = document.getElementById("swagger-ui");

document.documentElement.classList.toggle("dark-mode", matchMedia("(prefers-color-scheme: dark)").matches);

SwaggerUIBundle({
  domNode: place,
  url: place.dataset.openapi,
  deepLinking: true,
  validatorUrl: null, // the default would send the document's address to a service outside
  requestInterceptor: (request) => {
    // What "Try it out" changes needs the token of the session, once somebody is signed in.
    const token = document.cookie.match(/(?:^|; )(?:__Host-)?codyverse-csrf=([^;]+)/);
    if (token) request.headers["X-CSRF-Token"] = token[1];
    return request;
  },
});
