def test_it_works(client):
    assert client.get("/livez").json == {"status": "ok"}
    r = client.get("/health")
    assert r.status_code == 200, r.json
    print(r.json)
